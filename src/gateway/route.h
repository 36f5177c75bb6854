/* route - which upstream a request goes to, and how it is treated on the way.
 *
 * A table compiled once from the configuration and then only read. The longest pattern that matches
 * wins; an exact one goes before a prefix, a route with a host before one without.
 *
 *      /v1/chat/completions      exact
 *      /v1/ and an asterisk      prefix: everything that begins with /v1/
 *
 * A path that an upstream may understand differently from us is refused: dot segments (plain or
 * encoded), backslashes, NUL and control bytes always; encoded or doubled slashes and needless
 * percent-encoding only when the decoded path would take another route.
 *
 * Thread: immutable after creation; matching allocates nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_ROUTE_H
#define PS_GATEWAY_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "base/str.h"
#include "gateway/admit.h"
#include "gateway/price.h"

struct ps_operation;

enum ps_route_kind {
    PS_ROUTE_PLAIN,  /* any HTTP: bytes pass through */
    PS_ROUTE_OPENAI, /* every body is parsed: model, usage, limits by tokens, OpenAI-style errors */
    PS_ROUTE_INFERENCE, /* what the table of dialects knows is parsed, by its path; the rest is
                           plain */
    PS_ROUTE_KINDS
};

enum ps_choice { PS_AUTO, PS_YES, PS_NO };

/* May the answers of a route be remembered, and how long. */
struct ps_route_cache_opts {
    int use;      /* enum ps_choice; AUTO: GET and HEAD as their answers say, nothing else */
    bool sampled; /* answers that would differ each time, too */
    bool shared;  /* one tenant may get what another one asked for */
    ps_span ttl;
    ps_span stale;          /* so long it may still be sent while somebody asks anew */
    ps_span stale_on_error; /* ... when the upstream fails */
    struct ps_option_strings tags;
};

/* One item of `routes:`. */
struct ps_route_opts {
    char *name; /* NULL: the path */
    char *path;
    struct ps_option_strings methods; /* empty = all */
    char *host;                       /* NULL = any */
    int kind;                         /* enum ps_route_kind */
    char *upstream;                   /* NULL = the first */
    int idempotent;                   /* enum ps_choice */
    int engine_admin;                 /* enum ps_choice */
    int priority;                     /* enum ps_priority */
    ps_span first_byte_timeout;       /* 0 = the upstream's */
    ps_span idle_timeout;
    struct ps_route_cache_opts cache;
};

extern const struct ps_option ps_route_options[];

/* One item of `models:`: a name that clients use. */
struct ps_model_opts {
    char *name;
    char *upstream;
    char *target; /* the name that the upstream knows; NULL = the same */
    struct ps_price_opts price;
};

extern const struct ps_option ps_model_options[];

struct ps_route {
    const char *name;
    struct ps_str path; /* without the '*' of a prefix */
    struct ps_str host; /* empty = any */
    const struct ps_option_strings *methods;
    size_t index;    /* in the table, for counters */
    size_t upstream; /* index into the list of upstreams */
    enum ps_route_kind kind;
    enum ps_priority priority;
    bool prefix;
    bool admin; /* lets calls through that administer the engine */
    enum ps_choice idempotent;
    ps_span first_byte_timeout; /* 0 = the upstream's */
    ps_span idle_timeout;
    struct ps_route_cache_opts cache; /* its tags: at most PS_ENTRY_TAGS_MAX */
};

struct ps_route_table;

/* Compiles a table from lists of struct ps_route_opts, ps_upstream_opts and ps_model_opts (texts
 * are copied). Without any route but with upstreams the usual ones are made: POST
 * /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/images/generations, /v1/responses as
 * openai, everything else as inference to the first upstream. PS_OK, PS_EINVAL with a sentence in
 * reason, or PS_ENOMEM. */
PS_MUST_CHECK int ps_route_table_new(struct ps_route_table **out,
                                     const struct ps_option_list *routes,
                                     const struct ps_option_list *upstreams,
                                     const struct ps_option_list *models, char *reason,
                                     size_t size);

/* NULL is fine. */
void ps_route_table_free(struct ps_route_table *table);

size_t ps_route_table_count(const struct ps_route_table *table);

/* The n-th route in the order in which they are tried. */
const struct ps_route *ps_route_table_at(const struct ps_route_table *table, size_t n);

enum ps_route_result {
    PS_ROUTE_FOUND,
    PS_ROUTE_NONE,   /* 404 */
    PS_ROUTE_METHOD, /* 405: the path has a route, but not for this method */
    PS_ROUTE_ADMIN,  /* 403: the call administers the engine, and the route does not name it */
    PS_ROUTE_REFUSED /* 400: the path is ambiguous */
};

struct ps_route_match {
    const struct ps_route *route;         /* FOUND, ADMIN; METHOD: one that has the path */
    const struct ps_operation *operation; /* what the call is; NULL = any HTTP */
    const char *reason;                   /* REFUSED: static */
};

/* `path` is the target's path without query; `host` is the Host header (its port is ignored). */
enum ps_route_result ps_route_match(const struct ps_route_table *table, struct ps_str method,
                                    struct ps_str host, struct ps_str path,
                                    struct ps_route_match *out);

/* Appends "GET, POST": the methods that the path has, for the header Allow. PS_OK, PS_ELIMIT,
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_route_write_allow(const struct ps_route_table *table, struct ps_str host,
                                       struct ps_str path, struct ps_buf *out);

/* May a request on this route be sent again after it was fully sent? Never what administers an
 * engine; else by the route's option; else yes for inference, unless it submits a job or is stored,
 * and for GET, HEAD and OPTIONS. `operation` may be NULL. */
bool ps_route_is_idempotent(const struct ps_route *route, const struct ps_operation *operation,
                            struct ps_str method);

/* Where a model name leads. */
struct ps_route_model {
    size_t upstream;
    struct ps_str target;         /* name to send upstream; empty = unchanged */
    const struct ps_price *price; /* of the alias; NULL = the upstream's */
};

/* Decides by alias, then by the upstreams' lists of models (the route's own first), then the
 * route's upstream when it has no list. PS_OK, or PS_ENOTFOUND: nobody serves this model (404). An
 * empty model goes to the route's upstream. */
PS_MUST_CHECK int ps_route_resolve(const struct ps_route_table *table, const struct ps_route *route,
                                   struct ps_str model, struct ps_route_model *out);

/* Walks all model names known to the configuration (aliases first, then lists), for /v1/models.
 * Empty when n is past the end. */
struct ps_str ps_route_model_name(const struct ps_route_table *table, size_t n);

#endif
