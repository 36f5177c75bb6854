/* The options of an upstream; see backend.h. */
#include "gateway/backend.h"

/* clang-format off */
static const char *const balance_names[] = {"least_tokens", "prefix", NULL};

static const struct ps_option endpoint_options[] = {
    {"url", PS_OPTION_STRING, offsetof(struct ps_endpoint_opts, url), NULL,
     "http:// or https://, host and port; a path is put in front of the request's", .required = true},
    {"weight", PS_OPTION_U64, offsetof(struct ps_endpoint_opts, weight), "1",
     "its share relative to the others", .min = 1, .max = 1000},
    {0},
};

static const struct ps_option tls_options[] = {
    {"ca_file", PS_OPTION_STRING, offsetof(struct ps_backend_tls_opts, ca_file), NULL,
     "PEM file of authorities; the system's by default", .min = 0},
    {"verify", PS_OPTION_BOOL, offsetof(struct ps_backend_tls_opts, verify), "yes",
     "no accepts any certificate: only for tests", .min = 0},
    {"server_name", PS_OPTION_STRING, offsetof(struct ps_backend_tls_opts, server_name), NULL,
     "the name in the certificate; the URL's host by default", .min = 0},
    {0},
};

static const struct ps_option health_options[] = {
    {"path", PS_OPTION_STRING, offsetof(struct ps_health_opts, path), NULL,
     "path of the active check; by engine when empty", .min = 0},
    {"interval", PS_OPTION_SPAN, offsetof(struct ps_health_opts, interval), "2s",
     "time between active checks; 0 = none", .min = 0},
    {"timeout", PS_OPTION_SPAN, offsetof(struct ps_health_opts, timeout), "2s",
     "an active check that takes longer has failed", .min = 0},
    {"unhealthy_after", PS_OPTION_U64, offsetof(struct ps_health_opts, unhealthy_after), "3",
     "failures in a row, of checks or of requests, that take an endpoint out", .min = 1, .max = 1000},
    {"healthy_after", PS_OPTION_U64, offsetof(struct ps_health_opts, healthy_after), "2",
     "good checks in a row that bring it back", .min = 1, .max = 1000},
    {"backoff", PS_OPTION_SPAN, offsetof(struct ps_health_opts, backoff), "1s",
     "how long failed requests take it out the first time; doubles, with jitter", .min = 0},
    {"backoff_max", PS_OPTION_SPAN, offsetof(struct ps_health_opts, backoff_max), "30s",
     "the longest time out", .min = 0},
    {"panic", PS_OPTION_BOOL, offsetof(struct ps_health_opts, panic), "yes",
     "use endpoints that failed requests took out when no other is left", .min = 0},
    {0},
};

static const struct ps_option timeout_options[] = {
    {"connect", PS_OPTION_SPAN, offsetof(struct ps_timeout_opts, connect), "3s",
     "to open a connection, TLS included", .min = 0},
    {"first_byte", PS_OPTION_SPAN, offsetof(struct ps_timeout_opts, first_byte), "600s",
     "from the sent request to the head of the answer", .min = 0},
    {"idle", PS_OPTION_SPAN, offsetof(struct ps_timeout_opts, idle), "120s",
     "longest gap inside an answer", .min = 0},
    {"send", PS_OPTION_SPAN, offsetof(struct ps_timeout_opts, send), "60s",
     "longest time without progress while sending", .min = 0},
    {0},
};

static const struct ps_option retry_options[] = {
    {"budget_percent", PS_OPTION_DOUBLE, offsetof(struct ps_retry_opts, budget_percent), "10",
     "retries per 100 requests", .min = 0, .max = 100},
    {"attempts", PS_OPTION_U64, offsetof(struct ps_retry_opts, attempts), "2",
     "tries of one request, the first included", .min = 1, .max = 10},
    {"min_retries", PS_OPTION_U64, offsetof(struct ps_retry_opts, min_retries), "10",
     "retries that are always allowed in 10 seconds", .min = 0, .max = 1000},
    {0},
};

const struct ps_option ps_upstream_options[] = {
    {"name", PS_OPTION_STRING, offsetof(struct ps_upstream_opts, name), NULL,
     "what routes, models and metrics call it", .required = true},
    {"endpoints", PS_OPTION_LIST, offsetof(struct ps_upstream_opts, endpoints), NULL,
     "the servers behind it; an item may be just a URL", .table = endpoint_options,
     .item_size = sizeof(struct ps_endpoint_opts), .shorthand = "url", .required = true},
    {"engine", PS_OPTION_ENUM, offsetof(struct ps_upstream_opts, engine), "auto",
     "what runs there; auto asks each endpoint", .names = ps_engine_names},
    {"balance", PS_OPTION_ENUM, offsetof(struct ps_upstream_opts, balance), "least_tokens",
     "least_tokens: the endpoint with the fewest tokens in flight; prefix: equal prompt beginnings go to the same endpoint", .names = balance_names},
    {"prefix_load", PS_OPTION_DOUBLE, offsetof(struct ps_upstream_opts, prefix_load), "1.25",
     "with prefix: an endpoint gets at most this much more than its share of the requests", .min = 1, .max = 100},
    {"api_key", PS_OPTION_SECRET, offsetof(struct ps_upstream_opts, api_key), NULL,
     "sent upstream as Authorization: Bearer; the client's own key never is", .min = 0},
    {"models", PS_OPTION_STRINGS, offsetof(struct ps_upstream_opts, models), NULL,
     "models that it serves: requests for them come here, others do not", .min = 0},
    {"revision", PS_OPTION_STRING, offsetof(struct ps_upstream_opts, revision), NULL,
     "part of the name of a cached answer: change it when the same model names get other weights", .min = 0},
    {"tls", PS_OPTION_SECTION, offsetof(struct ps_upstream_opts, tls), NULL,
     "how https endpoints are verified", .table = tls_options},
    {"health", PS_OPTION_SECTION, offsetof(struct ps_upstream_opts, health), NULL,
     "when an endpoint is taken out and brought back", .table = health_options},
    {"admission", PS_OPTION_SECTION, offsetof(struct ps_upstream_opts, admission), NULL,
     "how many requests it takes at a time, and how many may wait", .table = ps_admit_options},
    {"timeouts", PS_OPTION_SECTION, offsetof(struct ps_upstream_opts, timeouts), NULL,
     "how long it may take", .table = timeout_options},
    {"retry", PS_OPTION_SECTION, offsetof(struct ps_upstream_opts, retry), NULL,
     "how often a failed request is sent again", .table = retry_options},
    {"max_idle", PS_OPTION_U64, offsetof(struct ps_upstream_opts, max_idle), "256",
     "connections kept open per endpoint and worker", .min = 0, .max = 100000},
    {"price", PS_OPTION_SECTION, offsetof(struct ps_upstream_opts, price), NULL,
     "what its tokens cost", .table = ps_price_options},
    {0},
};
/* clang-format on */
