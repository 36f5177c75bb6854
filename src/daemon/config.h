/* config - the whole configuration: one struct, read from one YAML file, checked as a whole.
 *
 * The tables of the modules are strung together here; a module's options are declared beside the
 * module and nowhere else. A configuration never changes once it is read: a reload reads a new one.
 *
 *      file --> config_yaml (shape) --> config_check (sense) --> struct ps_config
 *                        `------ mistakes with places ------> struct ps_config_report
 *
 * Thread: functions belong to the caller's thread; a finished configuration may be read by all.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_CONFIG_H
#define PS_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "base/str.h"
#include "config/report.h"
#include "config/yaml.h"
#include "daemon/live.h"
#include "daemon/statsd_port.h"
#include "daemon/store.h"
#include "observe/history.h"
#include "gateway/tier.h"
#include "operate/gpu_opts.h"

/* One item of `admin.tokens`. */
struct ps_token_opts {
    char *name;
    int role; /* enum ps_role */
    char *token;
};

struct ps_admin_opts {
    struct ps_option_strings listen; /* empty = the reserved paths are on the gateway's port */
    struct ps_option_list tokens;    /* of struct ps_token_opts */
};

struct ps_tls_opts {
    char *certificate; /* PEM files; NULL = plain */
    char *key_file;
};

struct ps_cors_opts {
    struct ps_option_strings origins;
};

struct ps_metrics_page_opts {
    uint64_t max_custom;
    bool public;
    struct ps_statsd_port_opts statsd;
};

struct ps_config {
    struct ps_option_strings listen;
    uint64_t workers; /* 0 = by cores; see ps_config_workers() */
    char *access_log; /* "off", "stderr" or a path */
    int log_level;    /* enum ps_log_level */
    uint64_t max_body;
    uint64_t max_buffered; /* 0 = by memory; see ps_config_max_buffered() */
    uint64_t max_connections;
    uint64_t max_connections_per_address; /* 0 = no limit */
    uint64_t max_head;
    uint64_t max_headers;
    ps_span head_timeout;
    ps_span body_timeout;
    ps_span keep_alive_timeout;
    ps_span send_timeout;
    ps_span drain_timeout;
    struct ps_option_strings trusted_proxies;
    struct ps_cors_opts cors;
    struct ps_tls_opts tls;
    struct ps_admin_opts admin;
    struct ps_metrics_page_opts metrics;
    struct ps_cache_opts cache;
    struct ps_gpu_opts gpu;
    struct ps_store_opts store;
    struct ps_history_opts history;
    struct ps_live_opts dashboard;
    struct ps_option_list upstreams; /* of struct ps_upstream_opts */
    struct ps_option_list routes;    /* of struct ps_route_opts */
    struct ps_option_list models;    /* of struct ps_model_opts */
    struct ps_option_list tenants;   /* of struct ps_tenant_opts */
    bool tenants_open;               /* `tenants: open` */
};

extern const struct ps_option ps_config_options[];

/* The configuration of an empty file. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_config_default(struct ps_config **out);

/* Reads and checks a file, with the environment and the files that it names. PS_OK (the report may
 * hold warnings); PS_EINVAL: the report says what is wrong, a file that can't be read included;
 * PS_ENOMEM. Findings are in the order of the file. */
PS_MUST_CHECK int ps_config_load(struct ps_config **out, const char *path,
                                 struct ps_config_report *report);

/* The same for text. Certificates are not looked at. */
PS_MUST_CHECK int ps_config_parse(struct ps_config **out, struct ps_str text,
                                  const struct ps_config_source *source,
                                  struct ps_config_report *report);

/* Reads and checks a file as ps_config_load() does, and gives what could be understood even when
 * there are mistakes: values with a mistake hold their default, or are left out. Certificates are
 * not looked at; the file must be a regular one. *is_public (or NULL) tells whether every user may
 * read it. PS_OK or PS_EINVAL (the report has errors): *out is there; PS_EPARSE: it is not, the
 * file can't be read; PS_ENOMEM. */
PS_MUST_CHECK int ps_config_examine(struct ps_config **out, const char *path, bool *is_public,
                                    struct ps_config_report *report);

/* Does the file hold a secret itself, not in a file of its own nor in a variable? False for what
 * can't be read. */
bool ps_config_holds_secrets(const char *path);

/* Calls on_secret with every secret of the configuration that is set. */
void ps_config_each_secret(const struct ps_config *config,
                           void (*on_secret)(void *ctx, const char *secret), void *ctx);

/* Checks what was put together otherwise (by a command line). PS_OK, PS_EINVAL or PS_ENOMEM. */
PS_MUST_CHECK int ps_config_validate(const struct ps_config *config,
                                     struct ps_config_report *report);

/* NULL is fine. */
void ps_config_free(struct ps_config *config);

/* Appends the configuration as YAML: all of it, or only what differs from the default. Secrets are
 * "***". PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_config_yaml(const struct ps_config *config, bool all, struct ps_buf *out);

/* Appends the manual in Markdown. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_config_manual(struct ps_buf *out);

/* Writes the same as the manual page penstock.yaml(5); `date` as in base/roff.h. Errors of the
 * stream stay there. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_config_page(const char *version, const char *date, FILE *out);

/* --- what command lines change ------------------------------------------------------------------
 */

/* Listens on `address` instead of the default (first call), or besides what was added before.
 * PS_OK, PS_EINVAL (not an address) or PS_ENOMEM. */
PS_MUST_CHECK int ps_config_add_listen(struct ps_config *config, struct ps_str address, bool first);

/* Adds an endpoint to the upstream called `name`, which is made when there is none. PS_OK,
 * PS_EINVAL (not a URL) or PS_ENOMEM. */
PS_MUST_CHECK int ps_config_add_endpoint(struct ps_config *config, struct ps_str name,
                                         struct ps_str url);

/* --- what 0 stands for --------------------------------------------------------------------------
 */

unsigned ps_config_workers(const struct ps_config *config);      /* 1 to 64 */
uint64_t ps_config_max_buffered(const struct ps_config *config); /* bytes */

/* Do all these addresses stay on this machine? Malformed ones don't. */
bool ps_config_is_loopback(const struct ps_option_strings *listen);

#endif
