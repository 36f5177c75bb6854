/* canon_parse - reads the JSON of a request in any pieces and hands it to canon, nothing else.
 *
 * yajl, which reads requests for everything else, collects a string that is cut by the edge of a
 * feed and decodes every escape into a buffer that grows; for a prompt of 220 KB that costs more
 * than its SHA-256. Here text goes from the feed to the digest: nothing grows with the input, each
 * byte is looked at once, and what yajl lets through (half a surrogate pair, overlong UTF-8,
 * surrogates in UTF-8) is refused. RFC 8259, no extensions; the document must be an object.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_CANON_PARSE_H
#define PS_GATEWAY_CANON_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "gateway/canon.h"

/* The fields are private. */
struct ps_canon_parser {
    struct ps_canon *canon; /* borrowed */
    const char *reason;     /* of our own refusals */
    int err;                /* sticky */
    uint8_t state;
    bool is_name;      /* the string being read is a member's name */
    uint8_t hex_left;  /* digits of an escape that are still to come */
    uint8_t word_left; /* letters of a literal that are still to come */
    uint8_t carried;   /* bytes of a UTF-8 sequence that was cut by the edge of a feed */
    char carry[4];
    uint16_t code;  /* of the escape being read */
    uint16_t high;  /* first half of a pair whose second must follow; 0 = none */
    uint32_t depth; /* open containers */
    uint64_t objects[(PS_CANON_DEPTH_MAX + 63) / 64]; /* which of them are objects */
    const char *word;                                 /* the literal, what is left of it */
    size_t number_len;
    size_t text_len;
    char number[PS_CANON_NUMBER_MAX];
    char text[2048]; /* of the string being read: short pieces are collected */
};

/* Begins a document. */
void ps_canon_parser_init(struct ps_canon_parser *parser, struct ps_canon *canon);

/* Reads more bytes. PS_OK. PS_EPARSE: malformed or uncertain, see ps_canon_parser_reason(); others
 * as canon's. Every failure stays. */
PS_MUST_CHECK int ps_canon_parser_feed(struct ps_canon_parser *parser, struct ps_str bytes);

/* The document is complete. As above. */
PS_MUST_CHECK int ps_canon_parser_end(struct ps_canon_parser *parser);

/* A short phrase, static. */
const char *ps_canon_parser_reason(const struct ps_canon_parser *parser);

#endif
