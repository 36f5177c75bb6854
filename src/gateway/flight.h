/* flight - one answer on its way from an upstream to everybody who asked the same.
 *
 * Who asks first flies: its thread calls the upstream and records the answer. Who asks the same
 * meanwhile takes a seat on its own thread, reads what was recorded from the beginning, and then
 * whatever comes. Nobody is special: the client that asked first has a seat like all others, so
 * that its leaving hands the flight on to the rest, and only the last one's leaving ends it.
 *
 *      pilot's thread                                     any thread
 *      head -> [segment] -> [segment] -> [seg..         seat: position in the segments
 *                 published length, atomic  ----------->  on_news, when there is more
 *
 * A recording is kept whole up to a bound, so that late seats find its beginning and the end makes
 * an entry of the cache. Beyond that (or beyond the memory there is) the flight is closed for more,
 * and its beginning goes as soon as all seats have read it. The pilot waits for the foremost seat
 * alone: who lags too far behind that one is given up, so that nobody is slowed by another.
 *
 * Flights that began before a purge which concerns them are closed for those who ask after it.
 *
 * Thread: a registry any. A pilot's functions: its thread. A seat: the thread that took it. What
 * they share is atomic, or changed under a lock that is held for a few links.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_FLIGHT_H
#define PS_GATEWAY_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/chunk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/str.h"
#include "gateway/entry.h"
#include "gateway/key.h"
#include "gateway/usage.h"

struct ps_loop;
struct ps_mailbox;
struct ps_flight;
struct ps_flights;

#define PS_FLIGHT_HIDDEN_MAX 8 /* events of a stream that were not asked for by everybody */

/* --- the registry ----------------------------------------------------------------------------- */

/* `keep` is how many bytes of an answer are recorded whole. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_flights_new(struct ps_flights **out, size_t keep);

/* When no flight is left. NULL is fine. */
void ps_flights_free(struct ps_flights *flights);

/* Flights that others can still join. */
size_t ps_flights_count(struct ps_flights *flights);

/* --- a seat ----------------------------------------------------------------------------------- */

/* Where a thread is reached. Lives longer than all its seats and flights, and its mailbox until all
 * threads that fly have ended. */
struct ps_flight_desk {
    struct ps_loop *loop;
    struct ps_mailbox *mailbox;
};

/* Embedded in who waits. Zero-initialise. */
struct ps_flight_seat {
    struct ps_list link;      /* the flight's */
    struct ps_flight *flight; /* NULL = not seated */
    struct ps_flight_station *station;
    struct ps_flight_segment *segment; /* has the next bytes, or ends before them */
    uint64_t position;                 /* of the next byte in the body */
    /* There is a head, more of the body, or the end. Never from inside a call of the seat's. The
     * callback may leave. */
    void (*on_news)(struct ps_flight_seat *seat);
};

enum ps_flight_role {
    PS_FLIGHT_JOINED, /* seated in a flight that is under way */
    PS_FLIGHT_LEADS,  /* seated in a new one, which the caller has to fly */
    PS_FLIGHT_FAILED  /* out of memory: not seated */
};

/* What a new flight is about. Views are borrowed until the call returns. */
struct ps_flight_spec {
    const struct ps_key *key;
    struct ps_str route, model, tenant; /* for purges */
    const struct ps_str *tags;
    size_t tags_count;
    ps_time born;             /* wall-clock */
    struct ps_budget *budget; /* of what is recorded, or NULL; outlives the flight */
    /* Is this entry, which has no body, invalid by now? May be NULL. */
    bool (*is_purged)(void *ctx, struct ps_entry *probe, const struct ps_key *key);
    void *ctx;
};

/* Takes a seat in the flight of this key, or begins one. With a NULL seat a flight is begun that
 * nobody waits for, and that is not ended because nobody does; PS_FLIGHT_JOINED says then that one
 * is under way already. *out is valid for the one who leads: a reference of the pilot's. */
enum ps_flight_role ps_flights_join(struct ps_flights *flights, const struct ps_flight_spec *spec,
                                    struct ps_flight_desk *desk, struct ps_flight_seat *seat,
                                    struct ps_flight **out);

/* What this key stands for is another now: whoever asks from now on begins anew, and the one who
 * flies knows that what comes is of yesterday. */
void ps_flights_outdate(struct ps_flights *flights, const struct ps_key *key);

/* Gets up, whatever the state; nothing when not seated. Whoever is last ends the flight. */
void ps_flight_leave(struct ps_flight_seat *seat);

enum ps_flight_state {
    PS_FLIGHT_WAITING, /* no head yet */
    PS_FLIGHT_OPEN,    /* the head is there, the body is coming */
    PS_FLIGHT_LANDED,  /* complete */
    PS_FLIGHT_REFUSED, /* no head will come: see ps_flight_refusal() */
    PS_FLIGHT_CRASHED  /* the head is there, and the body ends before its end */
};

/* In this order a state, then the bytes, are complete: ask for the state first. */
enum ps_flight_state ps_flight_state(const struct ps_flight *flight);

/* Which requests of the same key an answer is for: all, or those whose fields in its Vary make this
 * key (vary.h). */
struct ps_flight_variant {
    bool varies;
    struct ps_key key;
};

/* How the body is to be understood. */
struct ps_flight_head {
    int status;
    enum ps_entry_kind kind;
    struct ps_str lines; /* header lines for the client, without those that are each client's own */
    uint64_t length;     /* of the body, or PS_FLIGHT_LENGTH_UNKNOWN */
    bool personal;       /* for the one who asked first alone: others ask for themselves */
    bool keeps;          /* HTTP: it may be kept, and so be for others than who leads */
    struct ps_flight_variant variant;
};
#define PS_FLIGHT_LENGTH_UNKNOWN UINT64_MAX

/* From PS_FLIGHT_OPEN on; valid as long as the seat or the pilot is there. */
const struct ps_flight_head *ps_flight_head(const struct ps_flight *flight);

/* The next bytes of the body, at most to the end of a segment; empty when there are none now. With
 * `hide`, the bytes that the pilot marked are left out. They stay valid until ps_flight_read_on().
 */
struct ps_str ps_flight_peek(struct ps_flight_seat *seat, bool hide);

/* `n` of the bytes of the last peek are done with. */
void ps_flight_read_on(struct ps_flight_seat *seat, size_t n);

/* Has it fallen so far behind the others that it has to get up? News say so. */
bool ps_flight_is_behind(const struct ps_flight_seat *seat);

/* Can the whole body be had at the end? */
bool ps_flight_is_whole(const struct ps_flight *flight);

/* After PS_FLIGHT_LANDED: the answer as an entry, when it is whole; else NULL. Valid as long as the
 * seat. */
struct ps_entry *ps_flight_entry(const struct ps_flight *flight);

/* Did the entry come from a cache: nobody was asked? */
bool ps_flight_is_cached(const struct ps_flight *flight);

/* What went wrong, and how it is told. */
struct ps_flight_refusal {
    int status;
    const char *type, *code, *error; /* static, or NULL */
    ps_span retry_after;
    char text[256];
};
const struct ps_flight_refusal *ps_flight_refusal(const struct ps_flight *flight);

/* What it took, from the end on. */
struct ps_flight_facts {
    unsigned attempts;
    int endpoint;      /* index in the upstream of the flight's gateway, or -1 */
    ps_span waited;    /* at the gate; -1 = it was not there */
    const char *error; /* static, or NULL */
    bool stored;
    struct ps_usage usage;
    struct ps_flight_variant variant; /* of an entry that came from a cache */
};
const struct ps_flight_facts *ps_flight_facts(const struct ps_flight *flight);

/* --- the pilot -------------------------------------------------------------------------------- */

/* Who flies. Both come on the pilot's thread and never from inside a call of its. */
struct ps_flight_pilot {
    void (*on_deserted)(void *ctx); /* nobody waits any more: end it */
    void (*on_room)(void *ctx);     /* who was too slow has caught up: go on */
    void *ctx;
};
void ps_flight_take_off(struct ps_flight *flight, const struct ps_flight_pilot *pilot);

/* The head is there (the lines are copied). PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_flight_begin(struct ps_flight *flight, const struct ps_flight_head *head);

/* Records the next bytes; hidden ones are an event that only those get who asked for usage. PS_OK,
 * PS_ELIMIT (too many hidden ones) or PS_ENOMEM. */
PS_MUST_CHECK int ps_flight_record(struct ps_flight *flight, struct ps_str bytes, bool hidden);

/* Tells the seats what was recorded since they were told last: at the end of a batch. */
void ps_flight_tell(struct ps_flight *flight);

/* After telling: do all seats read too slowly? Then on_room comes when one of them has caught up.
 */
bool ps_flight_must_wait(struct ps_flight *flight);

ps_time ps_flight_born(const struct ps_flight *flight);

/* Was its key outdated since it began? Then the answer is not kept. */
bool ps_flight_is_outdated(const struct ps_flight *flight);

const struct ps_key *ps_flight_key(const struct ps_flight *flight);

/* Copies the whole body, behind what is there. PS_OK, PS_EINVAL (it is not whole) or PS_ENOMEM. */
PS_MUST_CHECK int ps_flight_copy_body(const struct ps_flight *flight, char *out, size_t size);
uint64_t ps_flight_recorded(const struct ps_flight *flight);

/* The ends; each is the last call of the pilot and gives its reference back. Whoever asks from now
 * on begins anew. `entry` (or NULL) is a reference of the flight's from now on. */
void ps_flight_land(struct ps_flight *flight, struct ps_entry *entry, bool cached,
                    const struct ps_flight_facts *facts);
void ps_flight_refuse(struct ps_flight *flight, const struct ps_flight_refusal *refusal,
                      const struct ps_flight_facts *facts);
void ps_flight_crash(struct ps_flight *flight, const struct ps_flight_facts *facts);

#endif
