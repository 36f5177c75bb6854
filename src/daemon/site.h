/* site - the configuration in force: what was read, and what was made of it.
 *
 * Control makes a site and hands it to every worker; a reload makes the next one. It lives until the last
 * request that began under it has ended.
 *
 * Thread: constant after creation; references may be taken and dropped by any thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_SITE_H
#define PS_DAEMON_SITE_H

#include <stdatomic.h>
#include <stddef.h>

#include "base/chunk.h"
#include "base/err.h"
#include "daemon/config.h"
#include "daemon/reserved.h"
#include "gateway/gateway.h"
#include "http/server.h"

struct ps_caches;
struct ps_metrics;
struct ps_tls;

/* A token as it is kept: never itself. */
struct ps_site_token {
    enum ps_role role;
    unsigned char digest[32]; /* SHA-256 */
};

struct ps_site {
    _Atomic uint32_t refs;
    struct ps_config *config;
    struct ps_gateway *gateway;
    struct ps_tls *tls; /* of the listeners; NULL = plain */
    struct ps_site_token *tokens;
    size_t token_count;
    bool split; /* admin.listen is set: the gateway's port reserves the health paths only */
};

/* Takes the configuration over (freed with the site, also on failure). `previous` or NULL. PS_OK, PS_EINVAL
 * with a sentence in reason, PS_ENOMEM. */
PS_MUST_CHECK int ps_site_new_take(struct ps_site **out, struct ps_config *config,
                                   const struct ps_site *previous, struct ps_budget *budget,
                                   struct ps_metrics *metrics, struct ps_caches *caches, ps_time now,
                                   char *reason, size_t size);

struct ps_site *ps_site_ref(struct ps_site *site);
void ps_site_unref(struct ps_site *site); /* NULL is fine */

/* What is kept of a token: its SHA-256. */
void ps_site_digest(struct ps_str token, unsigned char digest[32]);

/* The role of a token with this digest, or PS_ROLE_NONE when it is none of ours. Constant time. */
enum ps_role ps_site_role(const struct ps_site *site, const unsigned char digest[32]);

/* What the configuration calls the token with this digest, or NULL. Constant time. */
const char *ps_site_token_name(const struct ps_site *site, const unsigned char digest[32]);

/* The limits of the configuration as a server wants them; callbacks are the caller's. */
void ps_site_server_opts(const struct ps_site *site, struct ps_server_opts *opts);

#endif
