/* The options of the second tier; see redis.h. */
#include "gateway/redis.h"

/* clang-format off */
static const struct ps_option node_options[] = {
    {"url", PS_OPTION_STRING, offsetof(struct ps_redis_node_opts, url), NULL,
     "redis://host:port, rediss://host:port for TLS, unix:///path, or host:port; without a port it is 6379", .required = true},
    {"weight", PS_OPTION_U64, offsetof(struct ps_redis_node_opts, weight), "1",
     "its share of the keys relative to the others; a cluster divides its slots itself", .min = 1, .max = 1000},
    {"name", PS_OPTION_STRING, offsetof(struct ps_redis_node_opts, name), NULL,
     "what places its keys, so that a node can move to another address and keep them; host:port by default, and the same on every gateway", .min = 0},
    {0},
};

static const struct ps_option tls_options[] = {
    {"enabled", PS_OPTION_BOOL, offsetof(struct ps_redis_tls_opts, enabled), "no",
     "speak TLS to every node, as rediss:// says", .min = 0},
    {"ca_file", PS_OPTION_STRING, offsetof(struct ps_redis_tls_opts, ca_file), NULL,
     "PEM file of authorities; the system's by default", .path = true},
    {"verify", PS_OPTION_BOOL, offsetof(struct ps_redis_tls_opts, verify), "yes",
     "no accepts any certificate: only for tests", .min = 0},
    {"server_name", PS_OPTION_STRING, offsetof(struct ps_redis_tls_opts, server_name), NULL,
     "the name in the certificate; the node's host by default", .min = 0},
    {"certificate_file", PS_OPTION_STRING, offsetof(struct ps_redis_tls_opts, certificate_file), NULL,
     "PEM chain that is shown to the node, which asks for one unless it has tls-auth-clients no", .path = true},
    {"key_file", PS_OPTION_STRING, offsetof(struct ps_redis_tls_opts, key_file), NULL,
     "PEM key of that certificate", .path = true},
    {0},
};

static const struct ps_option breaker_options[] = {
    {"stall", PS_OPTION_SPAN, offsetof(struct ps_redis_breaker_opts, stall), "100ms",
     "a node that owes a reply this long and sends nothing is left alone", .min = 1e6, .max = 60e9},
    {"failures", PS_OPTION_U64, offsetof(struct ps_redis_breaker_opts, failures), "10",
     "so is one whose replies were all late, or errors of the whole node, for as long as that, if they were this many", .min = 1, .max = 1000000},
    {"backoff", PS_OPTION_SPAN, offsetof(struct ps_redis_breaker_opts, backoff), "250ms",
     "when it is tried again for the first time; doubles, with jitter", .min = 1e6, .max = 3600e9},
    {"backoff_max", PS_OPTION_SPAN, offsetof(struct ps_redis_breaker_opts, backoff_max), "10s",
     "the longest time between two tries", .min = 1e6, .max = 3600e9},
    {0},
};

const struct ps_option ps_redis_options[] = {
    {"nodes", PS_OPTION_LIST, offsetof(struct ps_redis_opts, nodes), NULL,
     "the cache servers, or some nodes of the cluster; an item may be just a URL; none: no shared cache", .table = node_options,
     .item_size = sizeof(struct ps_redis_node_opts), .shorthand = "url"},
    {"cluster", PS_OPTION_BOOL, offsetof(struct ps_redis_opts, cluster), "no",
     "the nodes are a Redis or Valkey Cluster: ask it where keys are", .min = 0},
    {"username", PS_OPTION_STRING, offsetof(struct ps_redis_opts, username), NULL,
     "who logs in; without it the server's default user", .min = 0},
    {"password", PS_OPTION_SECRET, offsetof(struct ps_redis_opts, password), NULL,
     "with which; without it nobody logs in", .min = 0},
    {"database", PS_OPTION_U64, offsetof(struct ps_redis_opts, database), "0",
     "the number of the database; a cluster has only 0", .min = 0, .max = 1000000},
    {"tls", PS_OPTION_SECTION, offsetof(struct ps_redis_opts, tls), NULL,
     "how the nodes are verified", .table = tls_options},
    {"prefix", PS_OPTION_STRING, offsetof(struct ps_redis_opts, prefix), "penstock:",
     "what every key begins with; gateways with the same prefix share answers; without { and }", .min = 0},
    {"timeout", PS_OPTION_SPAN, offsetof(struct ps_redis_opts, timeout), "2ms",
     "a reply whose first byte takes longer is a miss", .min = 1e5, .max = 10e9},
    {"connect_timeout", PS_OPTION_SPAN, offsetof(struct ps_redis_opts, connect_timeout), "200ms",
     "for the name, the connection, TLS and logging in together", .min = 1e6, .max = 60e9},
    {"breaker", PS_OPTION_SECTION, offsetof(struct ps_redis_opts, breaker), NULL,
     "when a node is left alone, and for how long", .table = breaker_options},
    {"max_value", PS_OPTION_BYTES, offsetof(struct ps_redis_opts, max_value), "8MiB",
     "longer answers are neither stored nor believed, before and after decompression", .min = 1024, .max = 536870912},
    {"compress_above", PS_OPTION_BYTES, offsetof(struct ps_redis_opts, compress_above), "1KiB",
     "longer answers are compressed, if that makes them shorter; 0 = never", .min = 0},
    {"sign_key", PS_OPTION_SECRET, offsetof(struct ps_redis_opts, sign_key), NULL,
     "a secret of all gateways that share answers; with it an answer that another put into the cache is not believed", .min = 0},
    {"max_pending", PS_OPTION_U64, offsetof(struct ps_redis_opts, max_pending), "1024",
     "commands under way to a node, per worker; beyond it a lookup is a miss", .min = 1, .max = 1000000},
    {"max_pending_bytes", PS_OPTION_BYTES, offsetof(struct ps_redis_opts, max_pending_bytes), "16MiB",
     "bytes of commands under way to a node, per worker", .min = 4096},
    {"purge_keep", PS_OPTION_SPAN, offsetof(struct ps_redis_opts, purge_keep), "2d",
     "how long the record of an invalidation stays; longer than any answer is kept", .min = 60e9},
    {"purge_max", PS_OPTION_U64, offsetof(struct ps_redis_opts, purge_max), "10000",
     "records that stay at most, the newest", .min = 1, .max = 1000000},
    {0},
};
/* clang-format on */
