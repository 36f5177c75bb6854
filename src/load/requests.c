/* requests - see requests.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/requests.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "load/target.h"
#include "load/template.h"

#define HEAD_MAX (64u * 1024u)
#define BODY_MAX (64u * 1024u * 1024u)

struct ps_catalogue {
    struct ps_requests_opts opts;
    struct ps_templates templates; /* empty: prompts or a trace */
};

struct ps_requests {
    const struct ps_catalogue *catalogue;
    const struct ps_target *target;
    struct ps_buf *heads; /* of the templates */
    struct ps_plan *plan; /* of a trace */
    struct ps_plan_entry entry;
    uint64_t next; /* number of the trace's next entry */
    struct ps_buf head;
    struct ps_buf body;
};

static int say(struct ps_requests_error *error, int err, const char *what)
{
    snprintf(error->text, sizeof error->text, "%s", what);
    return err;
}

/* --------------------------------------------------------------------------------- catalogue */

/* A file that is no trace is found before anything is sent. */
static int try_trace(const struct ps_plan_opts *opts, struct ps_requests_error *error)
{
    struct ps_plan *plan = NULL;
    struct ps_plan_error why = {""};
    int err = ps_plan_open(&plan, opts, &why);
    ps_plan_close(plan);
    return err == PS_OK ? PS_OK : say(error, err, why.text);
}

int ps_catalogue_new(struct ps_catalogue **out, const struct ps_requests_opts *opts,
                     struct ps_requests_error *error)
{
    struct ps_catalogue *catalogue = calloc(1, sizeof *catalogue);
    int err = PS_OK;
    if (catalogue == NULL) {
        return say(error, PS_ENOMEM, ps_err_text(PS_ENOMEM));
    }
    catalogue->opts = *opts;
    bool made = opts->trace.path != NULL || opts->prompt_tokens > 0;
    if (!made) {
        const struct ps_template_defaults defaults = {
            .method = opts->method,
            .path = opts->path,
            .content_type = opts->content_type,
            .body = opts->body,
            .status = opts->status,
        };
        err = opts->templates != NULL
                  ? ps_templates_read(&catalogue->templates, opts->templates, &defaults, error->text,
                                      sizeof error->text)
                  : ps_templates_one(&catalogue->templates, &defaults, error->text, sizeof error->text);
    }
    if (opts->trace.path != NULL) {
        err = try_trace(&opts->trace, error);
    }
    if (err != PS_OK) {
        ps_catalogue_free(catalogue);
        return err;
    }
    *out = catalogue;
    return PS_OK;
}

void ps_catalogue_free(struct ps_catalogue *catalogue)
{
    if (catalogue != NULL) {
        ps_templates_fini(&catalogue->templates);
        free(catalogue);
    }
}

bool ps_catalogue_has_times(const struct ps_catalogue *catalogue)
{
    return catalogue->opts.trace.path != NULL;
}

size_t ps_catalogue_size(const struct ps_catalogue *catalogue)
{
    return catalogue->templates.count;
}

/* ---------------------------------------------------------------------------------- templates */

/* How the answer is cut: paths that everybody knows say it, and what the body asks for. */
static enum ps_framing framing_of(const struct ps_template *template)
{
    struct ps_str path = ps_str_first(ps_str_from(template->path), ps_str_find(ps_str_from(template->path), '?'));
    bool openai = ps_str_ends_with(path, PS_STR("/completions"));
    bool ollama = ps_str_ends_with(path, PS_STR("/api/chat")) || ps_str_ends_with(path, PS_STR("/api/generate"));
    return openai && template->streams == PS_TEMPLATE_STREAM    ? PS_FRAMING_EVENTS
           : ollama && template->streams != PS_TEMPLATE_NO_STREAM ? PS_FRAMING_LINES
                                                                  : PS_FRAMING_ANY;
}

static int write_head(const struct ps_requests *requests, const struct ps_template *template, struct ps_buf *out)
{
    const struct ps_target_request request = {
        .method = ps_str_from(template->method),
        .path = ps_str_from(template->path),
        .accept = framing_of(template) == PS_FRAMING_EVENTS ? PS_STR("text/event-stream") : PS_STR("*/*"),
        .type = ps_str_from(template->content_type),
        .has_body = template->has_body,
        .body_len = template->body.len,
        .headers = template->headers,
        .header_count = template->header_count,
    };
    *out = ps_buf_make(HEAD_MAX);
    return ps_target_write(requests->target, &request, out);
}

static int write_heads(struct ps_requests *requests, struct ps_requests_error *error)
{
    const struct ps_templates *templates = &requests->catalogue->templates;
    requests->heads = calloc(templates->count, sizeof *requests->heads);
    int err = requests->heads == NULL ? PS_ENOMEM : PS_OK;
    for (size_t i = 0; err == PS_OK && i < templates->count; i++) {
        err = write_head(requests, &templates->rows[i], &requests->heads[i]);
        if (err == PS_EINVAL) {
            snprintf(error->text, sizeof error->text, "%s %s: no method or path that a request can have",
                     templates->rows[i].method, templates->rows[i].path);
        }
    }
    return err;
}

static void take_template(struct ps_requests *requests, uint64_t number, struct ps_session_request *request)
{
    const struct ps_templates *templates = &requests->catalogue->templates;
    size_t which = (size_t)(number % templates->count);
    const struct ps_template *template = &templates->rows[which];
    *request = (struct ps_session_request){
        .framing = framing_of(template),
        .kind = PS_PLAN_CHAT,
        .head = ps_buf_str(&requests->heads[which]),
        .body = template->body,
        .status = template->status,
        .is_head = strcmp(template->method, "HEAD") == 0,
    };
}

/* ------------------------------------------------------------------------------------ prompts */

static uint32_t drawn(double value, uint32_t figure)
{
    return (uint32_t)fmin(fmax(value, 1), 8.0 * figure);
}

/* Lengths around the wanted ones, spread as ServeGen's are (plan.h). */
static void draw_lengths(const struct ps_requests_opts *opts, struct ps_plan_entry *entry)
{
    struct ps_rng rng = ps_rng_make(entry->text_seed ^ 0x6c656e67746873u);
    double spread = PS_PLAN_PROMPT_SIGMA * ps_rng_normal(&rng);
    entry->prompt_tokens = drawn(opts->prompt_tokens * exp(spread), opts->prompt_tokens);
    entry->max_tokens = drawn(ps_rng_exponential(&rng, opts->max_tokens), opts->max_tokens);
}

static void make_prompt(const struct ps_requests_opts *opts, uint64_t number, struct ps_plan_entry *entry)
{
    struct ps_rng rng = ps_rng_make(opts->seed * 0x2545f4914f6cdd1du + number);
    *entry = (struct ps_plan_entry){
        .kind = opts->prompt_kind,
        .number = number,
        .prompt_tokens = opts->prompt_tokens,
        .max_tokens = opts->max_tokens,
        .text_seed = ps_rng_next(&rng),
    };
    if (opts->drawn_lengths) {
        draw_lengths(opts, entry);
    }
}

/* Words an entry: body and head. */
static int word(struct ps_requests *requests, const struct ps_plan_entry *entry,
                struct ps_session_request *request, struct ps_requests_error *error)
{
    const struct ps_requests_opts *opts = &requests->catalogue->opts;
    const struct ps_protocol_call *call = ps_protocol_call(opts->prompt.protocol, entry->kind);
    if (call == NULL) {
        snprintf(error->text, sizeof error->text, "%s has no embeddings",
                 ps_protocol_names[opts->prompt.protocol]);
        return PS_EINVAL;
    }
    ps_buf_clear(&requests->head);
    ps_buf_clear(&requests->body);
    int err = ps_prompt_body(entry, &opts->prompt, &requests->body);
    if (err == PS_OK) {
        struct ps_str path = opts->path != NULL ? ps_str_from(opts->path) : call->path;
        err = ps_target_head(requests->target, path, call->accept, requests->body.len, &requests->head);
    }
    *request = (struct ps_session_request){
        .framing = call->framing,
        .kind = entry->kind,
        .prompt_tokens = entry->prompt_tokens,
        .head = ps_buf_str(&requests->head),
        .body = ps_buf_str(&requests->body),
        .status = opts->status,
    };
    return err == PS_OK ? PS_OK : say(error, err, ps_err_text(err));
}

/* -------------------------------------------------------------------------------------- trace */

static int read_trace(struct ps_requests *requests, uint64_t number, ps_span *at,
                      struct ps_requests_error *error)
{
    struct ps_plan_error why = {""};
    int err = PS_OK;
    while (err == PS_OK && requests->next <= number) {
        err = ps_plan_next(requests->plan, &requests->entry, &why);
        requests->next++;
    }
    *at = requests->entry.at;
    return err == PS_OK ? PS_OK : say(error, err, why.text[0] != '\0' ? why.text : ps_err_text(err));
}

/* -------------------------------------------------------------------------------------- life */

static int open_trace(struct ps_requests *requests, struct ps_requests_error *error)
{
    struct ps_plan_error why = {""};
    int err = ps_plan_open(&requests->plan, &requests->catalogue->opts.trace, &why);
    return err == PS_OK ? PS_OK : say(error, err, why.text);
}

int ps_requests_new(struct ps_requests **out, const struct ps_catalogue *catalogue,
                    const struct ps_target *target, struct ps_requests_error *error)
{
    struct ps_requests *requests = calloc(1, sizeof *requests);
    say(error, PS_ENOMEM, ps_err_text(PS_ENOMEM));
    if (requests == NULL) {
        return PS_ENOMEM;
    }
    requests->catalogue = catalogue;
    requests->target = target;
    requests->head = ps_buf_make(HEAD_MAX);
    requests->body = ps_buf_make(BODY_MAX);
    int err = catalogue->templates.count > 0        ? write_heads(requests, error)
              : ps_catalogue_has_times(catalogue) ? open_trace(requests, error)
                                                  : PS_OK;
    if (err != PS_OK) {
        ps_requests_free(requests);
        return err;
    }
    *out = requests;
    return PS_OK;
}

void ps_requests_free(struct ps_requests *requests)
{
    if (requests == NULL) {
        return;
    }
    for (size_t i = 0; requests->heads != NULL && i < requests->catalogue->templates.count; i++) {
        ps_buf_fini(&requests->heads[i]);
    }
    free(requests->heads);
    ps_plan_close(requests->plan);
    ps_buf_fini(&requests->head);
    ps_buf_fini(&requests->body);
    free(requests);
}

int ps_requests_make(struct ps_requests *requests, uint64_t number, struct ps_session_request *request,
                     ps_span *at, struct ps_requests_error *error)
{
    *at = 0;
    if (requests->heads != NULL) {
        take_template(requests, number, request);
        return PS_OK;
    }
    if (requests->plan == NULL) {
        make_prompt(&requests->catalogue->opts, number, &requests->entry);
        return word(requests, &requests->entry, request, error);
    }
    int err = read_trace(requests, number, at, error);
    return err == PS_OK ? word(requests, &requests->entry, request, error) : err;
}

uint64_t ps_requests_cut(const struct ps_requests *requests)
{
    return requests->plan == NULL ? 0 : ps_plan_cut(requests->plan);
}

const char *ps_requests_source(const struct ps_requests *requests)
{
    return requests->plan == NULL ? "" : ps_plan_source(requests->plan);
}
