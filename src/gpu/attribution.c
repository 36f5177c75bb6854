/* attribution - see attribution.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/attribution.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gpu/attribution_found.h"

#define SOONEST    PS_SECOND
#define FIRST_WAIT (5 * PS_SECOND)
#define MOST_WAIT  PS_MINUTE
#define SHARE      1000 /* a look rests so many times as long as it took ... */
#define NEW_SHARE  50   /* ... and for somebody new not that long */

const char *const ps_attribution_kin_names[] = {"", "self", "child", "parent", "group", NULL};

struct ps_attribution *ps_attribution_ref(struct ps_attribution *found)
{
    atomic_fetch_add_explicit(&found->refs, 1, memory_order_relaxed);
    return found;
}

void ps_attribution_unref(struct ps_attribution *found)
{
    if (found == NULL || atomic_fetch_sub_explicit(&found->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    free(found->users);
    free(found->denied);
    free(found->spaces);
    free(found->listeners);
    free(found->bonds);
    free(found->forwards);
    free(found);
}

/* --- reading ---------------------------------------------------------------------------------- */

size_t ps_attribution_count(const struct ps_attribution *found)
{
    return found->user_count;
}

size_t ps_attribution_place(const struct ps_attribution *found, uint32_t pid, uint64_t started)
{
    size_t low = 0;
    size_t high = found->user_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (found->users[middle].pid < pid) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool is_it = low < found->user_count && found->users[low].pid == pid &&
                 found->users[low].started == started;
    return is_it ? low : SIZE_MAX;
}

static bool is_local(const struct ps_attribution_space *space,
                     const struct ps_attribution_address *address)
{
    if (ps_attribution_is_loopback(address)) {
        return space->own;
    }
    for (size_t i = 0; i < space->local_count; i++) {
        if (memcmp(space->locals[i].bytes, address->bytes, sizeof address->bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* Does what listens at `at` in this name space get what we send to the address? */
static bool accepts(const struct ps_attribution *found, const struct ps_attribution_address *at,
                    uint32_t space, const struct ps_attribution_address *address)
{
    if (at->port != address->port) {
        return false;
    }
    if (ps_attribution_is_any(at)) {
        return is_local(&found->spaces[space], address);
    }
    return memcmp(at->bytes, address->bytes, sizeof address->bytes) == 0 &&
           (found->spaces[space].own || !ps_attribution_is_loopback(address));
}

/* Where a published port leads; the address itself where it is none. */
static const struct ps_attribution_address *
follow(const struct ps_attribution *found, const struct ps_attribution_address *address)
{
    for (size_t i = 0; i < found->forward_count; i++) {
        const struct ps_attribution_forward *forward = &found->forwards[i];
        if (accepts(found, &forward->from, forward->space, address)) {
            return &forward->to;
        }
    }
    return address;
}

/* The first bond of a user. */
static size_t first_bond(const struct ps_attribution *found, size_t place)
{
    size_t low = 0;
    size_t high = found->bond_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (found->bonds[middle].user < place) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

enum ps_attribution_kin ps_attribution_find(const struct ps_attribution *found, size_t place,
                                            const struct ps_attribution_address *address,
                                            unsigned *steps)
{
    PS_CHECK(place < found->user_count);
    address = follow(found, address);
    for (size_t i = first_bond(found, place);
         i < found->bond_count && found->bonds[i].user == place; i++) {
        const struct ps_attribution_listener *listener =
            &found->listeners[found->bonds[i].listener];
        if (accepts(found, &listener->at, listener->space, address)) {
            *steps = found->bonds[i].steps;
            return found->bonds[i].kin;
        }
    }
    return PS_ATTRIBUTION_NONE;
}

bool ps_attribution_denied(const struct ps_attribution *found, size_t place)
{
    PS_CHECK(place < found->user_count);
    return found->denied[place];
}

bool ps_attribution_listens(const struct ps_attribution *found, size_t place, size_t n,
                            struct ps_attribution_address *out)
{
    size_t at = first_bond(found, place) + n;
    if (at >= found->bond_count || found->bonds[at].user != place ||
        found->bonds[at].kin > PS_ATTRIBUTION_ABOVE) {
        return false;
    }
    *out = found->listeners[found->bonds[at].listener].at;
    return true;
}

struct ps_attribution_cost ps_attribution_cost(const struct ps_attribution *found)
{
    return found->cost;
}

/* --- when ------------------------------------------------------------------------------------- */

void ps_attribution_watch_fini(struct ps_attribution_watch *watch)
{
    ps_attribution_unref(watch->latest);
    *watch = (struct ps_attribution_watch){0};
}

/* Was everybody looked at? */
static bool covers(const struct ps_attribution *found, const struct ps_attribution_user *users,
                   size_t count)
{
    for (size_t i = 0; i < count && i < PS_ATTRIBUTION_USERS_MAX; i++) {
        if (ps_attribution_place(found, users[i].pid, users[i].started) == SIZE_MAX) {
            return false;
        }
    }
    return true;
}

static ps_span longer(ps_span a, ps_span b)
{
    return a > b ? a : b;
}

static ps_span shorter(ps_span a, ps_span b)
{
    return a < b ? a : b;
}

/* A look that fails says nothing, and what was known stays. */
static void look(struct ps_attribution_watch *watch, const char *root, const struct ps_clock *clock,
                 const struct ps_attribution_user *users, size_t count)
{
    struct ps_attribution *found;
    ps_time began = ps_clock_now(clock);
    int err = ps_attribution_scan(&found, root, users, count);
    watch->ended = ps_clock_now(clock);
    if (err == PS_OK) {
        found->cost.took = watch->ended - began;
        ps_attribution_unref(watch->latest);
        watch->latest = found;
    }
}

ps_time ps_attribution_watch_step(struct ps_attribution_watch *watch, const char *root,
                                  const struct ps_clock *clock,
                                  const struct ps_attribution_user *users, size_t count)
{
    ps_time now = ps_clock_now(clock);
    if (count == 0) {
        return PS_NEVER;
    }
    bool first = watch->latest == NULL && watch->wait == 0;
    bool fresh = watch->latest != NULL && !covers(watch->latest, users, count);
    ps_span took = watch->latest == NULL ? 0 : watch->latest->cost.took;
    ps_span wait = fresh ? longer(SOONEST, shorter(NEW_SHARE * took, MOST_WAIT))
                         : longer(watch->wait, shorter(SHARE * took, MOST_WAIT));
    if (!first && now < watch->ended + wait) {
        return watch->ended + wait;
    }
    look(watch, root, clock, users, count);
    watch->wait = first || fresh ? FIRST_WAIT : shorter(2 * watch->wait, MOST_WAIT);
    return watch->ended + watch->wait;
}
