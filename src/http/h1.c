/* h1 - see h1.h.
 *
 * Two ways through a head. In place: the lines are parsed where they lie in the input, into the
 * shared scratch. When the input ends before the head does, what was parsed moves into a split
 * (bytes, headers and head of its own) and goes on there, line by line. Both use take_line(), so
 * that they can't differ in what they accept.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/h1.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "http/h1_parse.h"
#include "http/h1_scan.h"

enum state {
    START,       /* nothing of the message has arrived */
    START_CR,    /* the CR of the tolerated empty line */
    HEAD,        /* in a split */
    LENGTH,      /* a body of h1->left more bytes */
    CHUNK_LINE,  /* the line in front of a chunk */
    CHUNK_DATA,  /* h1->left more bytes of a chunk */
    CHUNK_CR,    /* behind the bytes of a chunk */
    CHUNK_LF,    /* behind that CR */
    TRAILERS,    /* behind the last chunk's line; in a split if there is one */
    UNTIL_CLOSE, /* a body that ends with the connection */
    FINISH,      /* END is due */
    DONE,        /* END was returned */
    FAILED,      /* ERROR was returned */
};

#define DEFAULT_HEAD_BYTES   32768u
#define DEFAULT_HEADERS      100u
#define DEFAULT_TARGET_BYTES 16384u

/* Bytes of a request line beside its target: the longest method, two spaces, version, CR LF. */
#define REQUEST_LINE_EXTRA 48u

static_assert(sizeof(struct ps_h1) <= 128, "an idle connection has one of these per direction");

/* A head (or the trailers) that arrives in pieces. */
struct ps_h1_split {
    char *bytes;
    size_t len;
    size_t room;
    size_t line;    /* where the line begins that is not complete yet */
    uint64_t start; /* h1->used where bytes[0] was */
    struct ps_h1_header *headers;
    size_t header_room;
    struct ps_h1_head head;
    bool start_line_done;
};

/* Where lines are parsed to: the scratch or a split. */
struct reader {
    struct ps_h1_head *head;
    struct ps_h1_header *headers;
    const char *start; /* of the head */
    const char *line;  /* the next one */
    bool start_line_done;
};

enum line_result {
    LINE_TAKEN,
    LINE_LAST, /* the empty line */
    LINE_CUT,  /* not complete */
    LINE_BAD,  /* the fault says why */
};

int ps_h1_scratch_init(struct ps_h1_scratch *scratch, uint32_t max_headers)
{
    size_t room = max_headers == 0 ? DEFAULT_HEADERS : max_headers;
    struct ps_h1_header *headers = calloc(room, sizeof *headers);
    if (headers == NULL) {
        return PS_ENOMEM;
    }
    *scratch = (struct ps_h1_scratch){.headers = headers, .header_room = room};
    return PS_OK;
}

void ps_h1_scratch_fini(struct ps_h1_scratch *scratch)
{
    free(scratch->headers);
    *scratch = (struct ps_h1_scratch){0};
}

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value == 0 ? fallback : value;
}

void ps_h1_init(struct ps_h1 *h1, enum ps_h1_kind kind, const struct ps_h1_limits *limits,
                struct ps_h1_scratch *scratch)
{
    static const struct ps_h1_limits none;
    limits = limits == NULL ? &none : limits;
    PS_CHECK(scratch->header_room > 0);
    *h1 = (struct ps_h1){
        .scratch = scratch,
        .kind = (uint8_t)kind,
        .limits = {.max_head_bytes = or_default(limits->max_head_bytes, DEFAULT_HEAD_BYTES),
                   .max_headers = or_default(limits->max_headers, DEFAULT_HEADERS),
                   .max_target_bytes = or_default(limits->max_target_bytes, DEFAULT_TARGET_BYTES)},
    };
    if (h1->limits.max_headers > scratch->header_room) {
        h1->limits.max_headers = (uint32_t)scratch->header_room;
    }
}

static void split_free(struct ps_h1 *h1)
{
    if (h1->split != NULL) {
        free(h1->split->bytes);
        free(h1->split->headers);
        free(h1->split);
        h1->split = NULL;
    }
}

void ps_h1_fini(struct ps_h1 *h1)
{
    split_free(h1);
}

void ps_h1_reset(struct ps_h1 *h1)
{
    bool interim = h1->status >= 100 && h1->status < 200 && h1->status != 101;
    uint8_t expected = interim ? h1->request_method : (uint8_t)PS_H1_METHOD_UNKNOWN;
    split_free(h1);
    *h1 = (struct ps_h1){
        .scratch = h1->scratch, .kind = h1->kind, .limits = h1->limits, .request_method = expected};
}

void ps_h1_expect(struct ps_h1 *h1, enum ps_h1_method request_method)
{
    PS_CHECK(h1->kind == PS_H1_RESPONSE);
    h1->request_method = (uint8_t)request_method;
}

static enum ps_h1_event failed(struct ps_h1 *h1, enum ps_h1_error_code code, uint64_t offset)
{
    h1->error = (uint8_t)code;
    h1->error_offset = offset;
    h1->state = FAILED;
    h1->keep_alive = false;
    split_free(h1);
    return PS_H1_ERROR;
}

static void consume(struct ps_h1 *h1, struct ps_str *input, size_t n)
{
    *input = ps_str_skip(*input, n);
    h1->used += n;
}

/* --- lines ----------------------------------------------------------------------------------- */

static bool is_request(const struct ps_h1 *h1)
{
    return h1->kind == PS_H1_REQUEST;
}

/* Most bytes from the start of the head to the end of the line that is being read. */
static size_t line_limit(const struct ps_h1 *h1, bool start_line_done)
{
    size_t most = h1->limits.max_head_bytes;
    size_t start_line = (size_t)h1->limits.max_target_bytes + REQUEST_LINE_EXTRA;
    return start_line_done || !is_request(h1) || start_line > most ? most : start_line;
}

static enum ps_h1_error_code too_long(const struct ps_h1 *h1, bool start_line_done)
{
    return start_line_done || !is_request(h1) ? PS_H1_ERR_HEAD_TOO_LARGE
                                              : PS_H1_ERR_TARGET_TOO_LONG;
}

static enum line_result bad_line(struct ps_h1_fault *fault, enum ps_h1_error_code code,
                                 const char *at)
{
    *fault = (struct ps_h1_fault){code, at};
    return LINE_BAD;
}

/* Decides about a line that could not be read: cut, too long, or the fault that was found. */
static enum line_result judge_line(const struct ps_h1 *h1, const struct reader *r, const char *end,
                                   struct ps_h1_fault *fault)
{
    const char *feed = memchr(r->line, '\n', (size_t)(end - r->line));
    if (feed == NULL) {
        return LINE_CUT;
    }
    size_t limit = line_limit(h1, r->start_line_done);
    if ((size_t)(feed + 1 - r->start) > limit) {
        return bad_line(fault, too_long(h1, r->start_line_done), r->start + limit);
    }
    PS_CHECK(fault->code != PS_H1_ERR_NONE);
    return LINE_BAD;
}

static enum line_result take_start_line(const struct ps_h1 *h1, struct reader *r, const char *end,
                                        struct ps_h1_fault *fault)
{
    const char *next =
        is_request(h1)
            ? ps_h1_parse_request_line(r->line, end, h1->limits.max_target_bytes, r->head, fault)
            : ps_h1_parse_status_line(r->line, end, r->head, fault);
    if (next == NULL) {
        return judge_line(h1, r, end, fault);
    }
    size_t limit = line_limit(h1, false);
    if ((size_t)(next - r->start) > limit) {
        return bad_line(fault, too_long(h1, false), r->start + limit);
    }
    r->line = next;
    r->start_line_done = true;
    return LINE_TAKEN;
}

/* Stores a header and takes in what it says. */
static enum ps_h1_error_code keep_field(const struct ps_h1 *h1, struct reader *r,
                                        const struct ps_h1_header *header)
{
    if (r->head->header_count == h1->limits.max_headers) {
        return PS_H1_ERR_TOO_MANY_HEADERS;
    }
    r->headers[r->head->header_count++] = *header;
    if (h1->state == TRAILERS) {
        bool allowed = ps_h1_is_trailer_allowed((enum ps_h1_field)header->id);
        return allowed ? PS_H1_ERR_NONE : PS_H1_ERR_TRAILER;
    }
    return header->id == PS_H1_FIELD_OTHER ? PS_H1_ERR_NONE
                                           : ps_h1_apply_field(r->head, header, is_request(h1));
}

static enum line_result take_field(const struct ps_h1 *h1, struct reader *r, const char *end,
                                   struct ps_h1_fault *fault)
{
    struct ps_h1_header header;
    bool last = end - r->line >= 2 && r->line[0] == '\r' && r->line[1] == '\n';
    const char *next = last ? r->line + 2 : ps_h1_parse_field(r->line, end, &header, fault);
    if (next == NULL) {
        return judge_line(h1, r, end, fault);
    }
    if ((size_t)(next - r->start) > h1->limits.max_head_bytes) {
        return bad_line(fault, PS_H1_ERR_HEAD_TOO_LARGE, r->start + h1->limits.max_head_bytes);
    }
    enum ps_h1_error_code error = last ? PS_H1_ERR_NONE : keep_field(h1, r, &header);
    if (error != PS_H1_ERR_NONE) {
        return bad_line(fault, error, r->line);
    }
    r->line = next;
    return last ? LINE_LAST : LINE_TAKEN;
}

/* Takes lines until the head is complete, cut or bad. */
static enum line_result take_lines(const struct ps_h1 *h1, struct reader *r, const char *end,
                                   struct ps_h1_fault *fault)
{
    enum line_result result = LINE_TAKEN;
    if (!r->start_line_done) {
        result = take_start_line(h1, r, end, fault);
    }
    while (result == LINE_TAKEN) {
        result = r->line == end ? LINE_CUT : take_field(h1, r, end, fault);
    }
    return result;
}

/* --- what follows a head --------------------------------------------------------------------- */

static bool is_bodyless_response(const struct ps_h1 *h1, const struct ps_h1_head *head)
{
    return h1->request_method == PS_H1_METHOD_HEAD || head->status < 200 || head->status == 204 ||
           head->status == 304;
}

static enum state body_state(struct ps_h1 *h1, const struct ps_h1_head *head)
{
    if (h1->tunnel || (!is_request(h1) && is_bodyless_response(h1, head))) {
        return FINISH;
    }
    if (head->chunked) {
        ps_h1_chunk_init(&h1->chunk);
        return CHUNK_LINE;
    }
    if (is_request(h1) || head->has_content_length) {
        h1->left = head->content_length;
        return h1->left > 0 ? LENGTH : FINISH;
    }
    return UNTIL_CLOSE;
}

static bool starts_tunnel(const struct ps_h1 *h1, const struct ps_h1_head *head)
{
    if (is_request(h1)) {
        return head->method_id == PS_H1_METHOD_CONNECT;
    }
    return head->status == 101 || (h1->request_method == PS_H1_METHOD_CONNECT &&
                                   head->status >= 200 && head->status < 300);
}

/* All lines are there: what do they say together? */
static enum ps_h1_event head_event(struct ps_h1 *h1, struct reader *r, uint64_t start)
{
    struct ps_h1_head *head = r->head;
    head->raw = (struct ps_str){r->start, (size_t)(r->line - r->start)};
    head->headers = r->headers;
    enum ps_h1_error_code error = ps_h1_finish_head(head, is_request(h1));
    if (error != PS_H1_ERR_NONE) {
        return failed(h1, error, start + head->raw.len);
    }
    h1->status = (uint16_t)head->status;
    h1->tunnel = starts_tunnel(h1, head);
    h1->state = (uint8_t)body_state(h1, head);
    head->keep_alive = head->keep_alive && !h1->tunnel && h1->state != UNTIL_CLOSE;
    h1->keep_alive = head->keep_alive;
    return PS_H1_HEAD;
}

/* The empty line behind the trailers (or behind the last chunk if there are none). */
static enum ps_h1_event trailers_event(struct ps_h1 *h1, const struct reader *r)
{
    h1->trailer_count = (uint32_t)r->head->header_count;
    h1->state = FINISH;
    if (h1->trailer_count > 0) {
        return PS_H1_TRAILERS;
    }
    split_free(h1);
    h1->state = DONE;
    return PS_H1_END;
}

static enum ps_h1_event lines_event(struct ps_h1 *h1, struct reader *r, uint64_t start)
{
    return h1->state == TRAILERS ? trailers_event(h1, r) : head_event(h1, r, start);
}

/* --- heads in pieces ------------------------------------------------------------------------- */

/* Moves a view from one copy of the head to another; views of static text stay. */
static void move_view(struct ps_str *text, const char *from, size_t len, const char *to)
{
    uintptr_t at = (uintptr_t)text->ptr - (uintptr_t)from;
    if (text->ptr != NULL && at < len) {
        text->ptr = to + at;
    }
}

/* Moves all that was parsed from bytes at `from` to the same bytes at `to`. */
static void move_head(struct ps_h1_head *head, struct ps_h1_header *headers, const char *from,
                      size_t len, const char *to)
{
    move_view(&head->method, from, len, to);
    move_view(&head->target, from, len, to);
    move_view(&head->path, from, len, to);
    move_view(&head->host, from, len, to);
    move_view(&head->reason, from, len, to);
    move_view(&head->upgrade_protocol, from, len, to);
    for (size_t i = 0; i < head->header_count; i++) {
        move_view(&headers[i].name, from, len, to);
        move_view(&headers[i].value, from, len, to);
    }
}

static size_t grown(size_t room, size_t need, size_t first)
{
    room = room == 0 ? first : room;
    while (room < need) {
        room *= 2;
    }
    return room;
}

/* Appends to the bytes of the split. The views follow when the bytes move. */
static int split_append(struct ps_h1_split *split, const char *bytes, size_t len)
{
    size_t need = split->len + len;
    if (need > split->room) {
        size_t room = grown(split->room, need, 256);
        char *moved = malloc(room);
        if (moved == NULL) {
            return PS_ENOMEM;
        }
        if (split->len > 0) {
            memcpy(moved, split->bytes, split->len);
            move_head(&split->head, split->headers, split->bytes, split->len, moved);
        }
        free(split->bytes);
        split->bytes = moved;
        split->room = room;
    }
    memcpy(split->bytes + split->len, bytes, len);
    split->len = need;
    return PS_OK;
}

/* Makes room for one more header, up to the limit. */
static int split_reserve_header(struct ps_h1_split *split, size_t most)
{
    size_t need = split->head.header_count + 1;
    if (need <= split->header_room || need > most) {
        return PS_OK;
    }
    size_t room = grown(split->header_room, need, 8);
    room = room > most ? most : room;
    struct ps_h1_header *headers = realloc(split->headers, room * sizeof *headers);
    if (headers == NULL) {
        return PS_ENOMEM;
    }
    split->headers = headers;
    split->header_room = room;
    return PS_OK;
}

/* Copies the complete lines and what was parsed from them out of the input. */
static int split_copy(struct ps_h1_split *split, const struct reader *r)
{
    size_t count = r->head->header_count;
    size_t len = (size_t)(r->line - r->start);
    if (count > 0) {
        split->headers = calloc(count, sizeof *split->headers);
        if (split->headers == NULL) {
            return PS_ENOMEM;
        }
        memcpy(split->headers, r->headers, count * sizeof *split->headers);
        split->header_room = count;
    }
    int err = len == 0 ? PS_OK : split_append(split, r->start, len);
    if (err != PS_OK) {
        return err;
    }
    split->line = len;
    split->start_line_done = r->start_line_done;
    if (len > 0) {
        split->head = *r->head;
        move_head(&split->head, split->headers, r->start, len, split->bytes);
    }
    return PS_OK;
}

/* One line (or a part of it) from the input into the split. */
static enum ps_h1_event split_line(struct ps_h1 *h1, struct ps_str *input, bool *complete)
{
    struct ps_h1_split *split = h1->split;
    const char *feed = memchr(input->ptr, '\n', input->len);
    size_t len = feed == NULL ? input->len : (size_t)(feed + 1 - input->ptr);
    size_t limit = line_limit(h1, split->start_line_done);
    if (split->len + len > limit) {
        return failed(h1, too_long(h1, split->start_line_done), split->start + limit);
    }
    if (split_append(split, input->ptr, len) != PS_OK ||
        split_reserve_header(split, h1->limits.max_headers) != PS_OK) {
        return failed(h1, PS_H1_ERR_NOMEM, h1->used);
    }
    consume(h1, input, len);
    *complete = feed != NULL;
    return PS_H1_MORE;
}

static enum ps_h1_event split_next(struct ps_h1 *h1, struct ps_str *input)
{
    struct ps_h1_split *split = h1->split;
    while (input->len > 0) {
        bool complete = false;
        if (split_line(h1, input, &complete) == PS_H1_ERROR) {
            return PS_H1_ERROR;
        }
        if (!complete) {
            break;
        }
        struct reader r = {.head = &split->head,
                           .headers = split->headers,
                           .start = split->bytes,
                           .line = split->bytes + split->line,
                           .start_line_done = split->start_line_done};
        struct ps_h1_fault fault = {PS_H1_ERR_NONE, NULL};
        enum line_result result = take_lines(h1, &r, split->bytes + split->len, &fault);
        if (result == LINE_BAD) {
            return failed(h1, fault.code, split->start + (uint64_t)(fault.at - split->bytes));
        }
        split->line = (size_t)(r.line - split->bytes);
        split->start_line_done = r.start_line_done;
        if (result == LINE_LAST) {
            return lines_event(h1, &r, split->start);
        }
    }
    return PS_H1_MORE;
}

/* The input ends before the head does: go on in a split. */
static enum ps_h1_event split_begin(struct ps_h1 *h1, struct ps_str *input, const struct reader *r)
{
    struct ps_h1_split *split = calloc(1, sizeof *split);
    h1->split = split;
    if (split == NULL || split_copy(split, r) != PS_OK) {
        return failed(h1, PS_H1_ERR_NOMEM, h1->used);
    }
    split->start = h1->used;
    consume(h1, input, (size_t)(r->line - r->start));
    h1->state = h1->state == TRAILERS ? TRAILERS : HEAD;
    return split_next(h1, input);
}

/* --- events ---------------------------------------------------------------------------------- */

/* A head or trailers, from their first byte on. */
static enum ps_h1_event lines_in_place(struct ps_h1 *h1, struct ps_str *input)
{
    struct ps_h1_scratch *scratch = h1->scratch;
    scratch->head = (struct ps_h1_head){.headers = scratch->headers};
    struct reader r = {.head = &scratch->head,
                       .headers = scratch->headers,
                       .start = input->ptr,
                       .line = input->ptr,
                       .start_line_done = h1->state == TRAILERS};
    struct ps_h1_fault fault = {PS_H1_ERR_NONE, NULL};
    uint64_t start = h1->used;
    switch (take_lines(h1, &r, input->ptr + input->len, &fault)) {
    case LINE_LAST:
        consume(h1, input, (size_t)(r.line - r.start));
        return lines_event(h1, &r, start);
    case LINE_BAD:
        return failed(h1, fault.code, start + (uint64_t)(fault.at - r.start));
    case LINE_CUT:
    case LINE_TAKEN:
        break;
    }
    return split_begin(h1, input, &r);
}

/* The first byte of a message is judged alone. */
static bool can_start(const struct ps_h1 *h1, char byte)
{
    return is_request(h1) ? ps_h1_is_class(byte, PS_H1_CLASS_TOKEN) : byte == 'H';
}

static enum ps_h1_event start_next(struct ps_h1 *h1, struct ps_str *input)
{
    if (h1->state == START && *input->ptr == '\r' && is_request(h1) && !h1->blank_line_seen) {
        consume(h1, input, 1);
        h1->state = START_CR;
        if (input->len == 0) {
            return PS_H1_MORE;
        }
    }
    if (h1->state == START_CR) {
        if (*input->ptr != '\n') {
            return failed(h1, PS_H1_ERR_LINE_END, h1->used);
        }
        consume(h1, input, 1);
        h1->blank_line_seen = true;
        h1->state = START;
        if (input->len == 0) {
            return PS_H1_MORE;
        }
    }
    if (!can_start(h1, *input->ptr)) {
        return failed(h1, PS_H1_ERR_START_BYTE, h1->used);
    }
    return lines_in_place(h1, input);
}

/* A part of a body of which h1->left bytes are to come. */
static enum ps_h1_event data_event(struct ps_h1 *h1, struct ps_str *input, enum state after)
{
    size_t len = h1->left < input->len ? (size_t)h1->left : input->len;
    h1->data = ps_str_first(*input, len);
    consume(h1, input, len);
    h1->left -= len;
    if (h1->left == 0) {
        h1->state = (uint8_t)after;
    }
    return PS_H1_DATA;
}

static enum ps_h1_event until_close_event(struct ps_h1 *h1, struct ps_str *input)
{
    h1->data = *input;
    consume(h1, input, input->len);
    return PS_H1_DATA;
}

/* The line in front of a chunk. MORE: go on with the new state, or with more input. */
static enum ps_h1_event chunk_line(struct ps_h1 *h1, struct ps_str *input)
{
    size_t before = input->len;
    bool done = false;
    enum ps_h1_error_code error = ps_h1_chunk_read(&h1->chunk, input, &done);
    h1->used += before - input->len;
    if (error != PS_H1_ERR_NONE) {
        return failed(h1, error, h1->used);
    }
    if (done) {
        h1->left = h1->chunk.size;
        h1->state = h1->left > 0 ? CHUNK_DATA : TRAILERS;
    }
    return PS_H1_MORE;
}

/* CR or LF behind the bytes of a chunk. */
static enum ps_h1_event chunk_end(struct ps_h1 *h1, struct ps_str *input)
{
    bool at_cr = h1->state == CHUNK_CR;
    if (*input->ptr != (at_cr ? '\r' : '\n')) {
        return failed(h1, PS_H1_ERR_CHUNK_END, h1->used);
    }
    consume(h1, input, 1);
    h1->state = at_cr ? CHUNK_LF : CHUNK_LINE;
    return PS_H1_MORE;
}

/* One step with input; MORE means that the next step may come. */
static enum ps_h1_event step(struct ps_h1 *h1, struct ps_str *input)
{
    switch ((enum state)h1->state) {
    case START:
    case START_CR:
        return start_next(h1, input);
    case HEAD:
        return split_next(h1, input);
    case LENGTH:
        return data_event(h1, input, FINISH);
    case CHUNK_LINE:
        return chunk_line(h1, input);
    case CHUNK_DATA:
        return data_event(h1, input, CHUNK_CR);
    case CHUNK_CR:
    case CHUNK_LF:
        return chunk_end(h1, input);
    case TRAILERS:
        return h1->split != NULL ? split_next(h1, input) : lines_in_place(h1, input);
    case UNTIL_CLOSE:
        return until_close_event(h1, input);
    case FINISH:
    case DONE:
    case FAILED:
        break;
    }
    return PS_H1_ERROR;
}

enum ps_h1_event ps_h1_next(struct ps_h1 *h1, struct ps_str *input)
{
    if (h1->split != NULL && h1->state != HEAD && h1->state != TRAILERS) {
        split_free(h1); /* its head was looked at */
    }
    if (h1->state == FINISH || h1->state == DONE) {
        split_free(h1);
        h1->state = DONE;
        return PS_H1_END;
    }
    if (h1->state == FAILED) {
        return PS_H1_ERROR;
    }
    enum ps_h1_event event = PS_H1_MORE;
    while (event == PS_H1_MORE && input->len > 0) {
        event = step(h1, input);
    }
    return event;
}

const struct ps_h1_head *ps_h1_head(const struct ps_h1 *h1)
{
    return h1->split != NULL ? &h1->split->head : &h1->scratch->head;
}

struct ps_str ps_h1_data(const struct ps_h1 *h1)
{
    return h1->data;
}

const struct ps_h1_header *ps_h1_trailers(const struct ps_h1 *h1, size_t *count)
{
    *count = h1->trailer_count;
    return h1->split != NULL ? h1->split->headers : h1->scratch->headers;
}

struct ps_h1_error ps_h1_error(const struct ps_h1 *h1)
{
    static const struct {
        int status;
        const char *text;
    } table[PS_H1_ERR_COUNT] = {
#define ERROR_ROW(name, status, text) {status, text},
        PS_H1_ERROR_TABLE(ERROR_ROW)
#undef ERROR_ROW
    };
    int status = table[h1->error].status;
    bool theirs = h1->error != PS_H1_ERR_NONE && h1->error != PS_H1_ERR_NOMEM;
    return (struct ps_h1_error){
        .code = (enum ps_h1_error_code)h1->error,
        .status = theirs && !is_request(h1) ? 502 : status,
        .offset = h1->error_offset,
        .text = table[h1->error].text,
    };
}

int ps_h1_eof(struct ps_h1 *h1)
{
    switch ((enum state)h1->state) {
    case UNTIL_CLOSE:
        h1->state = FINISH;
        return PS_OK;
    case START:
    case START_CR:
    case FINISH:
    case DONE:
        return PS_OK;
    case FAILED:
        return PS_ECLOSED;
    default:
        (void)failed(h1, PS_H1_ERR_TRUNCATED, h1->used);
        return PS_ECLOSED;
    }
}

bool ps_h1_is_idle(const struct ps_h1 *h1)
{
    return h1->state == START || h1->state == START_CR;
}

bool ps_h1_is_done(const struct ps_h1 *h1)
{
    return h1->state == DONE;
}

bool ps_h1_body_until_close(const struct ps_h1 *h1)
{
    return h1->state == UNTIL_CLOSE;
}

bool ps_h1_has_body(const struct ps_h1 *h1)
{
    return h1->state >= LENGTH && h1->state <= UNTIL_CLOSE;
}
