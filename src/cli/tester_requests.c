/* tester_requests - what a load test asks: from the URL, a file, or made to fit a well-known API.
 *
 *      .../chat/completions    chats as OpenAI's API has them         model from GET .../models
 *      .../embeddings          embeddings
 *      .../api/chat            chats as Ollama has them               model from GET .../api/tags
 *      .../api/embed           embeddings
 *      anything else           the body that was given, or none
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/probe.h"
#include "cli/tester_private.h"
#include "http/url.h"
#include "io/loop.h"
#include "load/target.h"

#define BODY_MAX (64u << 20)

/* APIs that requests can be made for. */
static const struct api {
    struct ps_str end; /* of the path */
    enum ps_protocol protocol;
    enum ps_plan_kind kind;
    const char *models; /* where their names are, behind what is left of the path */
    const char *list;
    const char *name;
} apis[] = {
    {PS_STR_INIT("/chat/completions"), PS_PROTOCOL_OPENAI, PS_PLAN_CHAT, "/models", "data", "id"},
    {PS_STR_INIT("/embeddings"), PS_PROTOCOL_OPENAI, PS_PLAN_EMBEDDING, "/models", "data", "id"},
    {PS_STR_INIT("/api/chat"), PS_PROTOCOL_OLLAMA, PS_PLAN_CHAT, "/api/tags", "models", "name"},
    {PS_STR_INIT("/api/embed"), PS_PROTOCOL_OLLAMA, PS_PLAN_EMBEDDING, "/api/tags", "models", "name"},
};

static const struct api *find_api(struct ps_str path)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(apis); i++) {
        if (ps_str_ends_with(path, apis[i].end)) {
            return &apis[i];
        }
    }
    return NULL;
}

void ps_tester_target(const struct ps_tester *tester, struct ps_target_opts *opts)
{
    const struct ps_tester_args *args = &tester->args;
    *opts = (struct ps_target_opts){
        .url = args->url,
        .headers = args->headers.items,
        .header_count = args->headers.count,
        .api_key = args->api_key_file == NULL ? NULL : tester->api_key,
        .ca_file = args->ca_file,
        .insecure = args->insecure,
        .whole_url = tester->kind != PS_REPORT_REPLAY,
    };
}

/* -------------------------------------------------------------------------------------- model */

struct question {
    struct ps_loop *loop;
    int status;
};

static void on_answer(void *ctx, int status)
{
    struct question *question = ctx;
    question->status = status;
    ps_loop_stop(question->loop);
}

/* The first name on the page; NULL: there is none. */
static char *first_name(const struct api *api, struct ps_str page)
{
    json_t *json = page.len == 0 ? NULL : json_loadb(page.ptr, page.len, 0, NULL);
    const json_t *first = json_array_get(json_object_get(json, api->list), 0);
    const char *name = json_string_value(json_object_get(first, api->name));
    char *copy = name == NULL || name[0] == '\0' ? NULL : ps_str_dup(ps_str_from(name));
    json_decref(json);
    return copy;
}

static int say_no_model(struct ps_tester *tester, const char *path, int status)
{
    return status == 200
               ? ps_args_usage_error(tester->command, "GET %s lists no model: say --model NAME", path)
               : ps_args_usage_error(tester->command,
                                     "which model? GET %s was answered with %d: say --model NAME", path, status);
}

/* Without an answer the run will say why; the model is called something then. */
static int ask_model(struct ps_tester *tester, const struct api *api)
{
    struct question question = {.loop = tester->loop};
    struct ps_probe *probe = NULL;
    struct ps_target_opts target;
    char path[1100];
    ps_tester_target(tester, &target);
    snprintf(path, sizeof path, "%s%s", tester->what.base, api->models);
    int err = ps_probe_open(&probe, tester->loop, &target, path, on_answer, &question);
    if (err != PS_OK) {
        tester->what.model = ps_str_dup(PS_STR("default"));
        return 0; /* what is wrong with the target is said when it is opened for the run */
    }
    ps_probe_ask(probe);
    ps_loop_run(tester->loop);
    tester->what.model = question.status == 200 ? first_name(api, ps_probe_body(probe))
                         : question.status == 0 ? ps_str_dup(PS_STR("default"))
                                                : NULL;
    ps_probe_free(probe);
    return tester->what.model != NULL ? 0 : say_no_model(tester, path, question.status);
}

static int make_prompts(struct ps_tester *tester, const struct api *api)
{
    struct ps_tester_what *what = &tester->what;
    int status = 0;
    what->prompts = true;
    what->kind = api->kind;
    if (tester->args.model != NULL) {
        what->model = ps_str_dup(ps_str_from(tester->args.model));
    } else {
        status = ask_model(tester, api);
    }
    what->prompt = (struct ps_prompt_opts){.model = what->model, .protocol = api->protocol};
    return status;
}

/* --------------------------------------------------------------------------------------- body */

static int read_body(struct ps_tester *tester)
{
    const char *path = tester->args.body;
    struct ps_buf text = ps_buf_make(BODY_MAX);
    char piece[65536];
    size_t got;
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (file == NULL) {
        return ps_args_usage_error(tester->command, "%s: %s", path, strerror(errno));
    }
    int err = PS_OK;
    while (err == PS_OK && (got = fread(piece, 1, sizeof piece, file)) > 0) {
        err = ps_buf_append(&text, piece, got);
    }
    err = err == PS_OK && ferror(file) != 0 ? PS_EIO : err;
    if (file != stdin) {
        fclose(file);
    }
    struct ps_str body = ps_buf_str(&text);
    tester->what.body = (struct ps_str){ps_str_dup(body.len == 0 ? PS_STR("") : body), body.len};
    ps_buf_fini(&text);
    return err == PS_OK ? 0 : ps_args_usage_error(tester->command, "%s: %s", path, ps_err_text(err));
}

/* ---------------------------------------------------------------------------------------- URL */

static int split_url(struct ps_tester *tester, struct ps_str *path)
{
    struct ps_url url;
    if (ps_url_parse(ps_str_from(tester->args.url), &url) != PS_OK) {
        return ps_args_usage_error(tester->command, "%s: expected http://host[:port][/path] or https://...",
                                   tester->args.url);
    }
    bool rooted = url.path.len > 0 && url.path.ptr[0] == '/';
    if (asprintf(&tester->what.path, "%s%.*s", rooted ? "" : "/", PS_STR_ARG(url.path)) < 0) {
        tester->what.path = NULL;
        return ps_args_usage_error(tester->command, "%s", ps_err_text(PS_ENOMEM));
    }
    *path = ps_str_from(tester->what.path);
    path->len = ps_str_find(*path, '?');
    return 0;
}

/* "127.0.0.1:5000/path" is http. */
static int complete_url(struct ps_tester *tester)
{
    if (strstr(tester->args.url, "://") != NULL) {
        return 0;
    }
    if (asprintf(&tester->what.url, "http://%s", tester->args.url) < 0) {
        tester->what.url = NULL;
        return ps_args_usage_error(tester->command, "%s", ps_err_text(PS_ENOMEM));
    }
    tester->args.url = tester->what.url;
    return 0;
}

int ps_tester_what_make(struct ps_tester *tester)
{
    const struct ps_tester_args *args = &tester->args;
    struct ps_str path;
    int status = complete_url(tester);
    if (status != 0) {
        return status;
    }
    if (tester->kind == PS_REPORT_REPLAY) {
        return 0; /* the trace says what */
    }
    status = split_url(tester, &path);
    if (status != 0) {
        return status;
    }
    if (args->body != NULL && args->requests != NULL) {
        return ps_args_usage_error(tester->command, "--body and --requests exclude each other");
    }
    const struct api *api = find_api(path);
    bool given = args->body != NULL || args->requests != NULL || args->method != NULL;
    if (args->body != NULL) {
        return read_body(tester);
    }
    if (api == NULL || given) {
        return 0;
    }
    tester->what.base = ps_str_dup(ps_str_first(path, path.len - api->end.len));
    return make_prompts(tester, api);
}

void ps_tester_what_fini(struct ps_tester_what *what)
{
    free(what->url);
    free(what->base);
    free(what->path);
    free(what->model);
    free((void *)(uintptr_t)what->body.ptr);
}
