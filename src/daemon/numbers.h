/* numbers - figures on their way out and in: the pages of all series, and what others hand in.
 *
 *      GET /metrics   GET /api/metrics   POST /api/metrics   POST /api/otlp/v1/metrics
 *
 * All of them take as long as there are series or values, so they run on the clerk's thread.
 *
 * Thread: the clerk's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_NUMBERS_H
#define PS_DAEMON_NUMBERS_H

struct ps_ask;
struct ps_custom;
struct ps_metrics;
struct ps_otlp;

struct ps_numbers {
    struct ps_metrics *metrics;
    struct ps_custom *custom;
    struct ps_otlp *otlp;
};

/* Each fills its answer into the ask; `numbers` is a struct ps_numbers. */
void ps_numbers_page(void *numbers, struct ps_ask *ask);
void ps_numbers_listing(void *numbers, struct ps_ask *ask);
void ps_numbers_intake(void *numbers, struct ps_ask *ask);
void ps_numbers_otlp(void *numbers, struct ps_ask *ask);

#endif
