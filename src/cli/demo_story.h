/* demo_story - what happens to the servers' memory, in words: from /api/gpu/profile and
 * /api/gpu/report of the gateway that frees it.
 *
 *      profile, report (each second) --> gauges   how each server is now
 *                                    --> events   what became of it: it fills up, something is
 * freed, the level falls
 *
 * Nothing is known here that the gateway does not say; what it does not say is not told.
 *
 * Thread: pure; time is an argument.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_DEMO_STORY_H
#define PS_CLI_DEMO_STORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/str.h"

#define PS_DEMO_GAUGES   3  /* servers that are watched */
#define PS_DEMO_EVENTS   8  /* kept */
#define PS_DEMO_PAST     30 /* samples that are looked back at: seconds */
#define PS_DEMO_SENTENCE 200

/* Memory of one server. */
struct ps_demo_gauge {
    const char *address; /* host:port, as the gateway has it in the server's URL; borrowed */
    bool known;          /* the rest means something */
    bool simulated;
    bool cache;                /* percent is that of the key-value cache, not of the device */
    double percent;            /* that counts for the target */
    char level[12];            /* "low", "medium", "high", "critical"; "" = not told */
    int told;                  /* place of the level that was told last, from the best */
    bool needed;               /* a cleanup, it is foreseen */
    double probability, until; /* seconds until it is full; NAN = not told */
    double past[PS_DEMO_PAST]; /* a ring */
    ps_time past_at[PS_DEMO_PAST];
    size_t samples;
};

struct ps_demo_event {
    ps_time at;
    unsigned server; /* its place among the gauges */
    bool simulated;
    char text[PS_DEMO_SENTENCE];
};

struct ps_demo_story {
    struct ps_demo_gauge gauges[PS_DEMO_GAUGES];
    struct ps_demo_event events[PS_DEMO_EVENTS]; /* a ring */
    uint64_t count;                              /* of events so far */
    int64_t cleanup;                             /* the last that was told of */
    size_t steps;                                /* of it, told */
    bool ended;
};

/* Takes an answer of /api/gpu/profile, or /api/gpu/report. What is no such answer is passed over.
 */
void ps_demo_story_profile(struct ps_demo_story *story, ps_time now, struct ps_str json);
void ps_demo_story_report(struct ps_demo_story *story, ps_time now, struct ps_str json);

/* The n-th event since the beginning; NULL: it is not kept any more, or has not happened yet. */
const struct ps_demo_event *ps_demo_story_event(const struct ps_demo_story *story, uint64_t n);

#endif
