/*
 * fuzz_job - targets and answers of ComfyUI's calls.
 *
 * Input: a target, a line end, then an answer's body. Nothing that comes may break the reading,
 * what is learned is bounded, and a client's id is added only where there is none.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/option.h"
#include "gateway/backend.h"
#include "gateway/job.h"
#include "gateway/sticky.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ps_backend *make_backend(void)
{
    struct ps_backend *backend = NULL;
    struct ps_upstream_opts opts;
    char name[] = "u";
    char url[] = "http://127.0.0.1:1";
    char reason[128];
    struct ps_endpoint_opts endpoint = {.url = url, .weight = 1};
    PS_CHECK(ps_option_init(ps_upstream_options, &opts) == PS_OK);
    opts.name = name;
    opts.endpoints = (struct ps_option_list){&endpoint, 1};
    PS_CHECK(ps_backend_new(&backend, &opts, 0, NULL, 0, reason, sizeof reason) == PS_OK);
    opts.name = NULL;
    opts.endpoints = (struct ps_option_list){NULL, 0};
    ps_option_fini(ps_upstream_options, &opts);
    return backend;
}

static void run(struct ps_backend *backend, const struct ps_operation *operation,
                struct ps_str target, struct ps_str body, bool is_get)
{
    struct ps_rng rng = ps_rng_make(1);
    struct ps_job *job = NULL;
    struct ps_pick pick = {.tokens = 1};
    struct ps_job_caller caller = {.target = target, .is_get = is_get, .peer = PS_STR("127.0.0.1")};
    size_t at = 0;
    PS_CHECK(ps_job_new(&job, operation, &caller, &rng) == PS_OK);
    struct ps_str insert = ps_job_insert(job, &at);
    PS_CHECK(at <= target.len && (insert.len == 0 || operation->sticky == PS_STICKY_CLIENT));
    ps_job_place(job, NULL, backend, 0, &pick);
    PS_CHECK(pick.prefer <= 1);
    ps_job_begin(job, 200);
    while (body.len > 0) {
        ps_job_read(job, ps_str_first(body, 7));
        body = ps_str_skip(body, 7);
    }
    ps_job_learn(job, NULL, backend, backend->endpoints[0], 5, 0);
    (void)ps_job_is_elsewhere(job, 200, 2);
    ps_job_free(job);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str input = {(const char *)data, size};
    struct ps_str target = ps_str_first(input, ps_str_find(input, '\n'));
    struct ps_str body = ps_str_skip(input, target.len + 1);
    const struct ps_operation *operation =
        ps_dialect_find(ps_str_first(target, ps_str_find(target, '?')));
    if (operation == NULL || operation->sticky == PS_STICKY_NONE) {
        return 0;
    }
    struct ps_backend *backend = make_backend();
    struct ps_endpoint *endpoint = ps_endpoint_ref(backend->endpoints[0]);
    run(backend, operation, target, body, true);
    run(backend, operation, target, body, false);
    PS_CHECK(ps_sticky_count(ps_backend_sticky(backend)) <= 200);
    ps_backend_unref(backend);
    PS_CHECK(atomic_load(&endpoint->tokens) == 0);
    ps_endpoint_unref(endpoint);
    return 0;
}
