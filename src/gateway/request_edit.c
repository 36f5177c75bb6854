/* The part of request that changes bodies and guesses tokens; see request.h. */
#include "gateway/request.h"

#include "base/check.h"

#define TOKENS_MAX       ((uint64_t)1 << 53)
#define TOKENS_PER_MEDIA 1000 /* about what vision models take for one large picture */

/* `: "name"` with the escapes of JSON; the room is enough for every byte as \u00XX. */
static struct ps_str write_model(struct ps_str target, char *store)
{
    static const char hex[] = "0123456789abcdef";
    size_t len = 0;
    store[len++] = ':';
    store[len++] = '"';
    for (size_t i = 0; i < target.len && i < PS_REQUEST_MODEL_MAX; i++) {
        unsigned char c = (unsigned char)target.ptr[i];
        if (c < 0x20) {
            memcpy(store + len, "\\u00", 4);
            store[len + 4] = hex[c >> 4];
            store[len + 5] = hex[c & 15];
            len += 6;
            continue;
        }
        if (c == '"' || c == '\\') {
            store[len++] = '\\';
        }
        store[len++] = (char)c;
    }
    store[len++] = '"';
    return (struct ps_str){store, len};
}

static void add(struct ps_request_edits *edits, uint64_t offset, uint64_t remove,
                struct ps_str text)
{
    PS_CHECK(edits->count < PS_REQUEST_EDITS_MAX);
    size_t at = edits->count++;
    while (at > 0 && edits->items[at - 1].offset > offset) {
        edits->items[at] = edits->items[at - 1];
        at--;
    }
    edits->items[at] = (struct ps_request_edit){offset, remove, text};
    edits->growth += (int64_t)text.len - (int64_t)remove;
}

static void replace(struct ps_request_edits *edits, struct ps_request_span span, struct ps_str text)
{
    add(edits, span.start, span.end - span.start, text);
}

static void add_usage(const struct ps_request *request, struct ps_request_edits *edits)
{
    if (request->include_span.end != 0) {
        replace(edits, request->include_span, PS_STR(":true"));
    } else if (request->options_inside != 0) {
        struct ps_str text = request->options_empty ? PS_STR("\"include_usage\":true")
                                                    : PS_STR("\"include_usage\":true,");
        add(edits, request->options_inside, 0, text);
    } else if (request->options_span.end != 0) {
        replace(edits, request->options_span, PS_STR(":{\"include_usage\":true}"));
    } else {
        /* A comma may follow: the object holds at least "stream": true. */
        add(edits, request->top, 0, PS_STR("\"stream_options\":{\"include_usage\":true},"));
    }
}

bool ps_request_adds_usage(const struct ps_request *request)
{
    return request->dialect == PS_DIALECT_OPENAI &&
           (request->kind == PS_REQUEST_CHAT || request->kind == PS_REQUEST_COMPLETIONS) &&
           request->stream && !request->include_usage && !request->options_invalid;
}

static bool is_renamed(const struct ps_request *request, struct ps_str target)
{
    struct ps_str model = {request->model, request->model_len};
    return target.len > 0 && !ps_str_eq(target, model);
}

bool ps_request_needs_edits(const struct ps_request *request, struct ps_str target)
{
    return ps_request_adds_usage(request) || is_renamed(request, target);
}

/* The name as a segment of a path (RFC 3986, 3.3): all but the unreserved encoded. */
static struct ps_str write_segment(struct ps_str target, char *store)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t len = 0;
    for (size_t i = 0; i < target.len && i < PS_REQUEST_MODEL_MAX; i++) {
        unsigned char c = (unsigned char)target.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c != '\0' && strchr("-._~", c) != NULL);
        if (plain) {
            store[len++] = (char)c;
        } else {
            store[len++] = '%';
            store[len++] = hex[c >> 4];
            store[len++] = hex[c & 15];
        }
    }
    return (struct ps_str){store, len};
}

void ps_request_edits_make(const struct ps_request *request, bool want_usage, struct ps_str target,
                           struct ps_request_edits *out)
{
    out->count = 0;
    out->growth = 0;
    out->path = (struct ps_request_edit){.offset = 0};
    if (want_usage && ps_request_adds_usage(request)) {
        add_usage(request, out);
    }
    if (!is_renamed(request, target)) {
        return;
    }
    struct ps_request_span path = request->path_model;
    if (path.end != 0) {
        out->path = (struct ps_request_edit){path.start, path.end - path.start,
                                             write_segment(target, out->store)};
    } else if (request->model_span.end != 0) {
        replace(out, request->model_span, write_model(target, out->store));
    }
}

static uint64_t saturate(double tokens)
{
    return tokens < (double)TOKENS_MAX ? (uint64_t)tokens : TOKENS_MAX;
}

uint64_t ps_request_estimate_input(const struct ps_request *request, double bytes_per_token)
{
    double text = (double)request->input_bytes / (bytes_per_token > 0 ? bytes_per_token : 1);
    double media = (double)request->media * TOKENS_PER_MEDIA;
    uint64_t tokens = saturate(text + media + (double)request->input_ids + 0.999);
    return tokens == 0 ? 1 : tokens;
}

uint64_t ps_request_estimate(const struct ps_request *request, double bytes_per_token,
                             uint64_t default_output)
{
    uint64_t input = ps_request_estimate_input(request, bytes_per_token);
    if (!ps_request_generates(request->kind)) {
        return input;
    }
    uint64_t each = request->max_tokens > 0 ? request->max_tokens : default_output;
    uint64_t answers = request->n > 0 ? request->n : 1;
    /* Every prompt of a completion gets its own answers. */
    if (request->kind == PS_REQUEST_COMPLETIONS && request->inputs > 1) {
        answers = saturate((double)answers * (double)request->inputs);
    }
    return saturate((double)input + (double)each * (double)answers);
}

uint64_t ps_request_weight(const struct ps_request *request, uint64_t tokens)
{
    if (request->kind != PS_REQUEST_IMAGES && request->kind != PS_REQUEST_JOB) {
        return tokens;
    }
    double width = request->image_width > 0 ? (double)request->image_width : 512;
    double height = request->image_height > 0 ? (double)request->image_height : 512;
    double steps = request->image_steps > 0 ? (double)request->image_steps : 20;
    double images = request->n > 0 ? (double)request->n : 1;
    return saturate(width * height / 65536 * steps * images + 1);
}
