/* The part of transfer that takes the request's body in and understands it; see transfer.h. */
#include <stdlib.h>

#include "gateway/transfer.h"

/* --- the body --------------------------------------------------------------------------------- */

static void fail_body(struct ps_transfer *transfer, int err)
{
    if (err == PS_EPARSE) {
        struct ps_request_error error = ps_request_parser_error(transfer->parser);
        struct ps_answer answer = {.status = 400, .code = "invalid_json"};
        ps_transfer_fail(transfer, &answer, "the request body is not usable: %s at byte %llu",
                         error.reason, (unsigned long long)error.offset);
        return;
    }
    struct ps_answer answer = {.status = 503, .code = "no_memory", .retry_after = PS_SECOND};
    ps_transfer_fail(transfer, &answer, "too much is buffered at present");
}

/* A body that is no JSON, at a path that others use too: it goes on unread. */
static int pass_unread(struct ps_transfer *transfer, int err)
{
    if (err != PS_EPARSE || (transfer->operation->flags & PS_OPERATION_LENIENT) == 0) {
        return err;
    }
    ps_request_parser_free(transfer->parser);
    transfer->parser = NULL;
    transfer->parsed = false;
    return PS_OK;
}

/* Where the model leads, what must change in the body, and what it may cost. Returns false when the
 * request was answered. */
static bool understand(struct ps_transfer *transfer, const struct ps_request *request)
{
    struct ps_str model = {request->model, request->model_len};
    struct ps_route_model target = {.price = NULL};
    transfer->request = request;
    if (ps_route_resolve(transfer->gateway->routes, transfer->route, model, &target) != PS_OK) {
        struct ps_answer answer = {.status = 404, .code = "model_not_found"};
        ps_transfer_fail(transfer, &answer, "the model '%.*s' is not served here",
                         PS_STR_ARG(model));
        return false;
    }
    transfer->backend = transfer->gateway->backends[target.upstream];
    transfer->price = target.price != NULL ? *target.price : transfer->backend->price;
    transfer->estimate = ps_request_estimate(request, ps_backend_bytes_per_token(transfer->backend),
                                             PS_TRANSFER_DEFAULT_OUTPUT);
    transfer->weight = ps_request_weight(request, transfer->estimate);
    transfer->prompt =
        ps_request_generates(request->kind)
            ? ps_request_estimate_input(request, ps_backend_bytes_per_token(transfer->backend))
            : 0;
    if (!ps_request_needs_edits(request, target.target)) {
        return true;
    }
    transfer->edits = malloc(sizeof *transfer->edits);
    if (transfer->edits == NULL) {
        fail_body(transfer, PS_ENOMEM);
        return false;
    }
    ps_request_edits_make(request, true, target.target, transfer->edits);
    transfer->hide_usage = ps_request_adds_usage(request);
    return true;
}

/* Returns false when the request was answered. */
static bool end_parse(struct ps_transfer *transfer)
{
    int err = pass_unread(transfer, ps_request_parser_end(transfer->parser));
    if (err != PS_OK) {
        fail_body(transfer, err);
        return false;
    }
    return !transfer->parsed || understand(transfer, ps_request_parser_get(transfer->parser));
}

/* Reads the body that was only collected. */
static int parse_collected(struct ps_transfer *transfer)
{
    struct ps_str views[8];
    int err = ps_request_parser_new(&transfer->parser, transfer->operation, transfer->body.budget);
    for (size_t offset = 0; err == PS_OK && offset < transfer->body.len;) {
        size_t count = ps_chunks_peek(&transfer->body, offset, views, PS_ARRAY_LEN(views));
        for (size_t i = 0; err == PS_OK && i < count; i++) {
            err = transfer->parsed
                      ? pass_unread(transfer, ps_request_parser_feed(transfer->parser, views[i]))
                      : PS_OK;
            offset += views[i].len;
        }
    }
    return err;
}

bool ps_transfer_reread(struct ps_transfer *transfer)
{
    ps_request_parser_free(transfer->parser);
    ps_request_known_unref(transfer->known);
    free(transfer->edits);
    transfer->parser = NULL;
    transfer->known = NULL;
    transfer->request = NULL;
    transfer->edits = NULL;
    int err = parse_collected(transfer);
    if (err != PS_OK) {
        fail_body(transfer, err);
        return false;
    }
    return end_parse(transfer);
}

/* The body was seen before, or it is read now. Returns false when the request was answered. */
static bool recall(struct ps_transfer *transfer)
{
    uint8_t digest[32];
    struct ps_request_memo *memo = transfer->lane->memo;
    bool has_digest = ps_request_memo_digest(&transfer->body, digest);
    transfer->known = has_digest ? ps_request_memo_find(memo, transfer->operation, digest) : NULL;
    if (transfer->known != NULL) {
        return understand(transfer, &transfer->known->request);
    }
    int err = parse_collected(transfer);
    if (err != PS_OK) {
        fail_body(transfer, err);
        return false;
    }
    if (!transfer->parsed) { /* it is no JSON, and goes on unread */
        return true;
    }
    if (!end_parse(transfer)) {
        return false;
    }
    if (transfer->parsed && has_digest) {
        ps_request_memo_put(memo, transfer->operation, digest, transfer->request);
    }
    return true;
}

void ps_transfer_on_body(void *ctx, struct ps_str data)
{
    struct ps_transfer *transfer = ctx;
    transfer->bytes_in += data.len;
    if (transfer->gateway->max_body > 0 && transfer->bytes_in > transfer->gateway->max_body) {
        struct ps_answer answer = {.status = 413, .code = "body_too_large"};
        ps_transfer_fail(transfer, &answer, "the request body is larger than %llu bytes",
                         (unsigned long long)transfer->gateway->max_body);
        return;
    }
    int err;
    if (transfer->streaming) {
        transfer->retry_spoilt = true;
        err = ps_call_write(transfer->call, data);
        if (err == PS_OK && ps_call_queued(transfer->call) > PS_TRANSFER_HIGH_WATER) {
            ps_exchange_pause(transfer->exchange);
        }
    } else {
        err = ps_chunks_append(&transfer->body, data);
        if (err == PS_OK && transfer->parsed && !transfer->deferred) {
            err = pass_unread(transfer, ps_request_parser_feed(transfer->parser, data));
        }
    }
    if (err != PS_OK) {
        fail_body(transfer, err);
    }
}

void ps_transfer_on_body_end(void *ctx)
{
    struct ps_transfer *transfer = ctx;
    transfer->request_done = true;
    if (transfer->streaming) {
        if (transfer->call != NULL) {
            transfer->body_given = true;
            ps_call_end(transfer->call);
        }
        return;
    }
    if (transfer->deferred ? !recall(transfer) : transfer->parsed && !end_parse(transfer)) {
        return;
    }
    ps_transfer_admit(transfer);
}

/* --- before it comes ----------------------------------------------------------------------------
 */

/* Will the server read the body as JSON? Many look at Content-Type, some don't, and what is read
 * here must be what they read. KServe's binary tensors come behind a JSON of a length that a header
 * says. */
static bool is_json(const struct ps_transfer *transfer)
{
    struct ps_str type = ps_transfer_header(transfer, PS_H1_CONTENT_TYPE);
    if ((transfer->operation->flags & PS_OPERATION_ANY_TYPE) == 0) {
        return type.len == 0 || ps_str_istarts_with(type, PS_STR("application/json"));
    }
    return transfer->operation->dialect != PS_DIALECT_KSERVE ||
           ps_h1_head_find_name(transfer->head,
                                PS_STR("inference-header-content-length")) == NULL;
}

/* Another HTTP or TLS inside the tunnel would lead around routes, keys and limits. */
static bool may_tunnel(const struct ps_h1_head *head)
{
    bool may = head->upgrade;
    for (size_t i = 0; may && i < head->header_count; i++) {
        struct ps_str list = head->headers[i].value;
        struct ps_str name;
        while (head->headers[i].id == PS_H1_UPGRADE && ps_str_split(&list, ',', &name)) {
            name = ps_str_trim(name);
            may = may && !ps_str_istarts_with(name, PS_STR("h2")) &&
                  !ps_str_istarts_with(name, PS_STR("http/")) &&
                  !ps_str_istarts_with(name, PS_STR("tls/"));
        }
    }
    return may;
}

static int make_job(struct ps_transfer *transfer)
{
    char peer[PS_ADDRESS_TEXT];
    const struct ps_h1_head *head = transfer->head;
    const char *tenant = transfer->tenant == NULL ? NULL : transfer->tenant->name;
    struct ps_job_caller caller = {
        .target = head->path,
        .is_get = head->method_id == PS_H1_METHOD_GET,
        .tenant = ps_str_from(tenant),
        .peer = ps_str_from(ps_address_host_text(ps_exchange_peer(transfer->exchange), peer)),
        .budget = transfer->body.budget,
    };
    return ps_job_new(&transfer->job, transfer->operation, &caller, &transfer->lane->rng);
}

/* Is it worth waiting for the whole body, because the same one may have come before? */
static bool may_be_known(const struct ps_transfer *transfer)
{
    const struct ps_h1_head *head = transfer->head;
    return transfer->lane->memo != NULL && transfer->route->cache.use == PS_YES &&
           transfer->operation->sticky == PS_STICKY_NONE &&
           head->has_content_length && head->content_length <= PS_REQUEST_MEMO_BODY;
}

/* A call of a known dialect: what is read of it. Returns false when it was answered. */
static bool plan_operation(struct ps_transfer *transfer)
{
    const struct ps_operation *operation = transfer->operation;
    bool post = transfer->head->method_id == PS_H1_METHOD_POST;
    bool in_path = (operation->flags & PS_OPERATION_MODEL) != 0;
    int err = PS_OK;
    transfer->parsed = post && (operation->flags & PS_OPERATION_READ) != 0 && is_json(transfer);
    transfer->deferred = transfer->parsed && !in_path && may_be_known(transfer);
    if ((transfer->parsed && !transfer->deferred) || in_path) {
        err = ps_request_parser_new(&transfer->parser, operation, transfer->body.budget);
    }
    if (err == PS_OK && in_path) {
        err = ps_request_parser_path(transfer->parser, ps_exchange_path(transfer->exchange));
    }
    if (err == PS_OK && operation->sticky != PS_STICKY_NONE &&
        ps_backend_keeps_jobs(transfer->backend)) {
        err = make_job(transfer);
    }
    if (err != PS_OK) {
        fail_body(transfer, err);
        return false;
    }
    return !in_path || transfer->parsed || understand(transfer, ps_request_parser_get(transfer->parser));
}

/* How the body is treated: parsed, kept, or passed through. Returns false when it was answered. */
bool ps_transfer_plan_body(struct ps_transfer *transfer)
{
    const struct ps_h1_head *head = transfer->head;
    uint64_t most = transfer->gateway->max_body;
    if (most > 0 && head->has_content_length && head->content_length > most) {
        struct ps_answer answer = {.status = 413, .code = "body_too_large"};
        ps_transfer_fail(transfer, &answer, "the request body is larger than %llu bytes",
                         (unsigned long long)most);
        return false;
    }
    transfer->upgrade = may_tunnel(head);
    if (transfer->operation != NULL && !plan_operation(transfer)) {
        return false;
    }
    if (!transfer->parsed) {
        bool small = head->has_content_length && head->content_length <= PS_TRANSFER_KEEP_BODY;
        bool bodiless = !head->has_content_length && !head->chunked;
        transfer->streaming = !small && !bodiless;
    }
    return true;
}
