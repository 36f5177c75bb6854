/* transfer_items - requests that ask for several things at once (items.h): what is known of them
 * comes from memory and Redis, the rest from one flight, and the answer is put together.
 *
 *      keys -> memory -> Redis, all at once -> nothing is missing: join, send
 *                 |-- some: a flight of a request for these -> recorded, join with the rest, send
 *                 '-- all:  a flight of the request as it came -> passed on as it comes
 *      the pilot of a flight splits what it records, and remembers the pieces before it lands
 *
 * Where pieces can't be put together, or an answer can't be taken apart, the request is asked as it
 * came and passed on.
 *
 * Thread: the transfer's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_TRANSFER_ITEMS_H
#define PS_GATEWAY_TRANSFER_ITEMS_H

#include "gateway/gateway.h"
#include "gateway/items.h"
#include "gateway/key.h"
#include "gateway/transfer_cached.h"

#define PS_TRANSFER_ITEMS_ANSWER_MAX \
    ((size_t)256 << 20) /* bytes of an answer that is taken apart */

/* --- transfer_items.c: the client's side ------------------------------------------------------ */

/* Remembers the keys of the request's items in transfer->items. PS_OK; anything else: it asks for
 * one thing only, or can't be taken apart. */
PS_MUST_CHECK int ps_transfer_items_new(struct ps_transfer *transfer, struct ps_key_job *job,
                                        const struct ps_cached_wish *wish);

/* Looks the items up, and answers in its time. */
void ps_transfer_items_start(struct ps_transfer *transfer);

/* The flight has news. True: they were for the items alone. */
bool ps_transfer_items_hear(struct ps_transfer *transfer);

/* The client took what was written. False: it is not a joined answer that is sent. */
bool ps_transfer_items_drain(struct ps_transfer *transfer);

/* Gives back what it holds; nothing when there are no items. */
void ps_transfer_items_leave(struct ps_transfer *transfer);

/* Counts what the cache did with each item. */
void ps_transfer_items_tally(const struct ps_transfer *transfer, struct ps_cache_tally *sums);

/* For the flight of what is missing; NULL: its answer is a piece itself. */
const struct ps_flying_items *ps_transfer_items_flying(const struct ps_transfer *transfer);

/* --- transfer_items_pilot.c: who flies -------------------------------------------------------- */

struct ps_pilot_items;

/* For transfer->pilot. Without memory nothing will be remembered. */
struct ps_pilot_items *ps_pilot_items_new(const struct ps_flying_items *flying,
                                          struct ps_budget *budget);

/* NULL is fine. */
void ps_pilot_items_free(struct ps_pilot_items *items);

/* The next bytes of the answer. */
void ps_pilot_items_feed(struct ps_pilot_items *items, struct ps_str bytes);

/* The answer is complete: remembers its pieces. Were all of them? */
bool ps_pilot_items_store(struct ps_transfer *transfer);

#endif
