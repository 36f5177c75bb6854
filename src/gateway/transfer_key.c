/* What a request asks of the cache, and the name of its answer; see transfer_cached.h. */
#include "gateway/cache_control.h"
#include "gateway/items.h"
#include "gateway/transfer_cached.h"

/* --- may it be asked? ------------------------------------------------------------------------- */

static void read_own(struct ps_cached_wish *wish, struct ps_str name, struct ps_str value)
{
    uint64_t seconds;
    if (ps_str_ieq(name, PS_STR("x-penstock-cache"))) {
        wish->no_store = wish->no_store || ps_str_ieq(value, PS_STR("bypass"));
        wish->refresh = wish->refresh || ps_str_ieq(value, PS_STR("refresh"));
    } else if (ps_str_ieq(name, PS_STR("x-penstock-cache-ttl")) &&
               ps_str_to_u64(value, &seconds) == PS_OK && seconds > 0) {
        wish->ttl = seconds < 1000000000 ? (ps_span)seconds * PS_SECOND : 0;
    }
}

struct ps_cached_wish ps_cached_read_wish(const struct ps_h1_head *head)
{
    struct ps_cache_control cc;
    ps_cache_control_read(&cc, head);
    struct ps_cached_wish wish = {
        .no_store = ps_cc_has(&cc, PS_CC_NO_STORE),
        .refresh = ps_cc_has(&cc, PS_CC_NO_CACHE),
        .only_cached = ps_cc_has(&cc, PS_CC_ONLY_IF_CACHED),
    };
    for (size_t i = 0; i < head->header_count; i++) {
        read_own(&wish, head->headers[i].name, head->headers[i].value);
    }
    return wish;
}

/* Is the answer to this question the same each time? */
static bool is_certain(const struct ps_request *request, bool sampled)
{
    switch (request->kind) {
    case PS_REQUEST_EMBEDDINGS:
    case PS_REQUEST_RANK:
        return true;
    case PS_REQUEST_CHAT:
    case PS_REQUEST_COMPLETIONS:
        return sampled || request->has_seed ||
               (request->has_temperature && request->temperature == 0);
    case PS_REQUEST_IMAGES:
        return sampled || request->has_seed;
    case PS_REQUEST_INFER:
        return sampled;
    case PS_REQUEST_OTHER:
    case PS_REQUEST_RESPONSES:
    case PS_REQUEST_JOB:
    case PS_REQUEST_META:
        return false;
    }
    return false;
}

bool ps_cached_is_cacheable(const struct ps_transfer *transfer)
{
    const struct ps_request *request = transfer->request;
    return transfer->parsed && request != NULL && !request->store && !request->duplicate_members &&
           !transfer->upgrade && transfer->job == NULL &&
           is_certain(request, transfer->route->cache.sampled);
}

bool ps_cached_is_renderable(const struct ps_transfer *transfer)
{
    return transfer->operation->dialect == PS_DIALECT_OPENAI &&
           (transfer->request->kind == PS_REQUEST_CHAT ||
            transfer->request->kind == PS_REQUEST_COMPLETIONS);
}

/* --- the key ---------------------------------------------------------------------------------- */

/* What else decides about an answer: whatever the name of the model stands for, and the form, where
 * one can't be made of the other. */
static int write_revision(const struct ps_transfer *transfer, struct ps_buf *out)
{
    static const struct ps_str fields[] = {PS_STR_INIT("anthropic-version"),
                                           PS_STR_INIT("anthropic-beta")};
    const struct ps_request_edits *edits = transfer->edits;
    const char *revision = transfer->backend->revision;
    int err = ps_buf_append_str(out, revision == NULL ? PS_STR("") : ps_str_from(revision));
    for (size_t i = 0; err == PS_OK && edits != NULL && i < edits->count; i++) {
        bool model = edits->items[i].offset == transfer->request->model_span.start;
        err = model ? ps_buf_append_str(out, edits->items[i].insert) : PS_OK;
    }
    if (err == PS_OK && !ps_cached_is_renderable(transfer)) {
        err = ps_buf_append_str(out, transfer->request->stream ? PS_STR("\nstream") : PS_STR("\nwhole"));
    }
    for (size_t i = 0; err == PS_OK && transfer->operation->dialect == PS_DIALECT_ANTHROPIC && i < 2; i++) {
        const struct ps_h1_header *header = ps_h1_head_find_name(transfer->head, fields[i]);
        err = ps_buf_printf(out, "\n%.*s", header == NULL ? 0 : (int)header->value.len,
                            header == NULL ? "" : header->value.ptr);
    }
    return err;
}

static int feed_body(struct ps_transfer *transfer, struct ps_key_job *job)
{
    struct ps_str views[8];
    size_t offset = 0;
    int err = PS_OK;
    while (err == PS_OK && offset < transfer->body.len) {
        size_t count = ps_chunks_peek(&transfer->body, offset, views, PS_ARRAY_LEN(views));
        for (size_t i = 0; err == PS_OK && i < count; i++) {
            err = ps_key_job_feed(job, views[i]);
            offset += views[i].len;
        }
    }
    return err;
}

/* Items have keys of their own, where a call may ask for several. */
static enum ps_key_body kind_of_body(const struct ps_transfer *transfer)
{
    switch (ps_items_form_of(transfer->operation)) {
    case PS_ITEMS_OPENAI:
        return PS_KEY_EMBEDDINGS;
    case PS_ITEMS_TEI:
        return PS_KEY_EMBED;
    case PS_ITEMS_NONE:
        break;
    }
    return PS_KEY_JSON;
}

/* On success the job stays, for the keys of the items. */
static int make_key_as(struct ps_transfer *transfer, enum ps_key_body body, struct ps_key_job **job,
                       struct ps_key *out)
{
    struct ps_buf revision = ps_buf_make(4096);
    struct ps_str type = ps_transfer_header(transfer, PS_H1_CONTENT_TYPE);
    struct ps_str path = ps_exchange_path(transfer->exchange);
    int err = write_revision(transfer, &revision);
    struct ps_key_scope scope = {
        .tenant = ps_str_from(transfer->tenant == NULL ? "" : transfer->tenant->name),
        .any_tenant = transfer->route->cache.shared,
        .route = ps_str_from(transfer->route->name),
        .upstream = ps_str_from(transfer->backend->name),
        .revision = ps_buf_str(&revision),
        .method = transfer->head->method,
        .path = path,
        .query = ps_exchange_query(transfer->exchange),
        .content_type = type.len == 0 ? PS_STR("application/json") : type,
    };
    if (err == PS_OK) {
        err = ps_key_job_new(job, transfer->lane->keyer, &scope, body, transfer->body.budget);
    }
    err = err != PS_OK ? err : feed_body(transfer, *job);
    err = err != PS_OK ? err : ps_key_job_end(*job, out);
    if (err != PS_OK) {
        ps_key_job_free(*job);
        *job = NULL;
    }
    ps_buf_fini(&revision);
    return err;
}

/* What has no items where items are expected (messages instead of input, say) is one question. */
int ps_cached_make_key(struct ps_transfer *transfer, struct ps_key_job **job, struct ps_key *out)
{
    enum ps_key_body body = kind_of_body(transfer);
    int err = make_key_as(transfer, body, job, out);
    return err == PS_EPARSE && body != PS_KEY_JSON ? make_key_as(transfer, PS_KEY_JSON, job, out)
                                                   : err;
}
