/* ask - a request whose body is complete, and the ways to answer it at once.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_ASK_H
#define PS_SIM_ASK_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"
#include "sim/desk.h"
#include "sim/route.h"

struct ps_exchange;

/* Views are valid until the route's answer() returns. */
struct ps_sim_ask {
    struct ps_sim_desk *desk;
    struct ps_exchange *exchange;
    struct ps_str names[PS_SIM_ROUTE_NAMES]; /* the open segments of the path */
    struct ps_str query;
    struct ps_str body;
};

/* Takes over an exchange whose head arrived: reads its body, finds its route, has it answered. */
void ps_sim_ask_start(struct ps_sim_desk *desk, struct ps_exchange *exchange);

/* --- answers; each ends the exchange ---------------------------------------------------------- */

void ps_sim_ask_respond(const struct ps_sim_ask *ask, int status, struct ps_str type,
                        struct ps_str body);

/* JSON that is written already. */
void ps_sim_ask_json(const struct ps_sim_ask *ask, struct ps_str body);

/* Takes the tree (NULL: out of memory) and adds "simulated": true to an object. */
void ps_sim_ask_tree(const struct ps_sim_ask *ask, int status, json_t *tree);

/* The desk's scratch, or an error when it could not be filled. */
void ps_sim_ask_scratch(const struct ps_sim_ask *ask, int err, struct ps_str type);

/* The page of metrics. */
void ps_sim_ask_metrics(const struct ps_sim_ask *ask);

/* An error in the personality's shape; counted. */
void ps_sim_ask_refuse(const struct ps_sim_ask *ask, const struct ps_sim_refusal *refusal);
void ps_sim_ask_refuse_with(const struct ps_sim_ask *ask, int status, const char *type,
                            const char *format, ...) __attribute__((format(printf, 4, 5)));
void ps_sim_ask_refuse_exchange(struct ps_sim_desk *desk, struct ps_exchange *exchange,
                                const struct ps_sim_refusal *refusal);

/* --- questions -------------------------------------------------------------------------------- */

/* The body as an object, to be released by json_decref(); an empty body is an empty object where
 * `optional`. NULL: it was not, and the request is answered. */
json_t *ps_sim_ask_object(const struct ps_sim_ask *ask, bool optional);

/* The next value of a member of the query, from *at on (0 at first), not decoded; false at the end.
 */
bool ps_sim_ask_query(const struct ps_sim_ask *ask, struct ps_str name, size_t *at,
                      struct ps_str *value);

#endif
