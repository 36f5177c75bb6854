/* items - a request that asks for several things at once, taken apart, and its answer put together.
 *
 *      {"input":["a","b","c"],...}  --ask-->    {"input":["b"],...}        what is missing is asked
 *      {"data":[x0,x1],...}         --split-->  {"data":[x0],...} (twice)  what is remembered
 *      {"data":[x],...} (N pieces)  --join-->   {"data":[x0,..,xN],...}    what the client gets
 *
 * A piece is the answer that a request for this one item alone would get, so that such requests and
 * those for many share what is remembered: the key of an item is the same (gateway/key.h). Whatever
 * is not changed is copied byte for byte, numbers are never read as such but for the counts below.
 *
 * An answer is a frame around a list. In a frame two kinds of values may differ between the pieces
 * of one answer: what names the answer (`id`, `created`; it keeps those of the piece that was put
 * first) and the whole numbers in `usage`, which are added up. All else has to be the same to the
 * byte, the name of the model above all: vectors of two models have no place in one answer. Where
 * that does not hold, or an answer is not what it should be (an index that is missing or comes
 * twice, a count that is not whole), the result is PS_EPARSE: the request has to be asked as a
 * whole, and its answer is passed on as it came.
 *
 * Usage of the pieces: known exactly when one item was asked for. Otherwise each count is shared
 * out by weight (bytes of text; numbers of token ids), everyone getting 1 first if there is enough,
 * rounded so that the pieces add up to what was reported; of token ids the shares are exact.
 *
 * Formats: OpenAI API reference, "embeddings/object" and "embeddings/create"; text-embeddings-
 * inference, `/embed`, `/embed_all`, `/embed_sparse`.
 *
 * Thread: each object is owned by one thread; no input or output.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_ITEMS_H
#define PS_GATEWAY_ITEMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/chunk.h"
#include "base/err.h"
#include "base/str.h"
#include "gateway/dialect.h"
#include "gateway/key.h"

#define PS_ITEMS_MAX 16384u /* items of one request; longer lists are not taken apart */
#define PS_ITEMS_FRAME_MAX                                                                       \
    4096u                       /* bytes of an answer beside its items; every piece carries them \
                                 */
#define PS_ITEMS_COUNTS_MAX 24u /* values of a frame that may differ */

enum ps_items_form {
    PS_ITEMS_NONE,   /* can't be taken apart */
    PS_ITEMS_OPENAI, /* `input`; {"data":[{"index":0,"embedding":[..] or ".."}],"usage":{..}} */
    PS_ITEMS_TEI     /* `inputs`; a bare list with one value for each */
};

/* What a call asks for and answers; `operation` may be NULL. */
enum ps_items_form ps_items_form_of(const struct ps_operation *operation);

/* For each of n keys the first one that is equal to it: first[i] <= i. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_items_find_twins(const struct ps_key *keys, size_t n, uint32_t *first);

/* ---------------------------------------------------------------- requests */

struct ps_items_ask;

/* Will hold a copy of the body, which counts against `budget` (NULL = no bound). PS_OK or
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_items_ask_new(struct ps_items_ask **out, enum ps_items_form form,
                                   struct ps_budget *budget);

/* NULL is fine. */
void ps_items_ask_free(struct ps_items_ask *ask);

/* The next bytes of the body. PS_OK, PS_ELIMIT (budget) or PS_ENOMEM. */
PS_MUST_CHECK int ps_items_ask_feed(struct ps_items_ask *ask, struct ps_str bytes);

/* The body is complete; it must be one that has a key: its JSON is not checked again. PS_OK;
 * PS_EPARSE: no list of items is found (a single text, a list of numbers, which is one item);
 * PS_ELIMIT: too many items, or the budget; PS_ENOMEM. */
PS_MUST_CHECK int ps_items_ask_end(struct ps_items_ask *ask);

/* After a successful end: how many items there are (at least 1), and what each weighs when usage is
 * shared out (at least 1). */
size_t ps_items_ask_count(const struct ps_items_ask *ask);
uint32_t ps_items_ask_weight(const struct ps_items_ask *ask, size_t i);

/* The body as it came, what stands before its first item, one of the items, and what stands behind
 * the last: whoever puts a body together writes head, items with commas between them, tail. Views
 * into the copy. */
struct ps_str ps_items_ask_body(const struct ps_items_ask *ask);
struct ps_str ps_items_ask_head(const struct ps_items_ask *ask);
struct ps_str ps_items_ask_item(const struct ps_items_ask *ask, size_t i);
struct ps_str ps_items_ask_tail(const struct ps_items_ask *ask);

/* Appends a body that asks for these items only (n >= 1), in this order. PS_OK, PS_ELIMIT or
 * PS_ENOMEM; on failure *out is unusable but for its fini. */
PS_MUST_CHECK int ps_items_ask_write(const struct ps_items_ask *ask, const uint32_t *wanted,
                                     size_t n, struct ps_chunks *out);

/* ---------------------------------------------------------------- answers */

struct ps_items_split;

/* Will take the answer to `count` items apart (1..PS_ITEMS_MAX), which weigh so much (copied; NULL
 * = all the same). It holds the answer, up to `limit` bytes, which count against `budget`. PS_OK or
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_items_split_new(struct ps_items_split **out, enum ps_items_form form,
                                     const uint32_t *weights, size_t count, size_t limit,
                                     struct ps_budget *budget);

/* NULL is fine. */
void ps_items_split_free(struct ps_items_split *split);

/* The next bytes of the answer. PS_OK, PS_ELIMIT or PS_ENOMEM; every failure stays, and what was
 * held is given back. */
PS_MUST_CHECK int ps_items_split_feed(struct ps_items_split *split, struct ps_str bytes);

/* The answer is complete. PS_OK; PS_EPARSE: it can't be split; or as above. */
PS_MUST_CHECK int ps_items_split_end(struct ps_items_split *split);

/* After a successful end: appends the piece of the i-th item that was asked for. The text of an
 * item is checked here and not before, so that the work for a long answer can be spread. PS_OK;
 * PS_EPARSE: it is no JSON; what the buffer says (then *out is as it was). */
PS_MUST_CHECK int ps_items_split_piece(const struct ps_items_split *split, size_t i,
                                       struct ps_buf *out);

/* The i-th item's part of something that all took together (tokens, nanoseconds): the parts add up
 * to `total` (at most 2^53). */
uint64_t ps_items_split_share(const struct ps_items_split *split, uint64_t total, size_t i);

/* Tokens of all prompts, as the answer reports them in its body. False: it does not. */
bool ps_items_split_tokens(const struct ps_items_split *split, uint64_t *out);

/* ---------------------------------------------------------------- pieces */

struct ps_items_join;

/* Will put an answer of `count` pieces together (1..PS_ITEMS_MAX). PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_items_join_new(struct ps_items_join **out, enum ps_items_form form,
                                    size_t count);

/* NULL is fine. */
void ps_items_join_free(struct ps_items_join *join);

/* The piece of the i-th item, once for each i; borrowed until the join is freed; several may be the
 * same bytes. Its structure is looked at, the text of its item is not checked again. The first
 * piece that is put gives the frame. PS_OK; PS_EPARSE: not a piece, or it does not belong to the
 * others: then the join is only good for freeing. */
PS_MUST_CHECK int ps_items_join_put(struct ps_items_join *join, size_t i, struct ps_str piece);

/* All pieces are there: the length of the answer. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_items_join_end(struct ps_items_join *join, uint64_t *length);

/* After a successful end: the next bytes of the answer, valid until the next call. False behind the
 * last. Nothing is copied but what stands around the items. */
bool ps_items_join_next(struct ps_items_join *join, struct ps_str *view);

#endif
