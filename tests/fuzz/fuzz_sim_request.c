/* fuzz_sim_request - any body is either refused with a sentence that makes a valid answer, or it is
 * a request within all limits.
 *
 * Input: one byte that chooses the route, then the body.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sim/answer.h"
#include "sim/json.h"
#include "sim/request.h"

#define MAX_MODEL_LEN 500

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_refusal(const struct ps_sim_refusal *refusal)
{
    struct ps_buf out = ps_buf_make(1 << 16);
    struct ps_sim_json_error error;
    json_t *json = NULL;
    PS_CHECK(refusal->status >= 400 && refusal->status < 500 && refusal->text[0] != '\0');
    PS_CHECK(ps_sim_answer_error(&out, refusal) == PS_OK);
    PS_CHECK(ps_sim_json_parse(ps_buf_str(&out), &json, &error) == PS_OK);
    json_decref(json);
    ps_buf_fini(&out);
}

static void check_request(const struct ps_sim_request *request)
{
    PS_CHECK(request->kind == PS_SIM_IMAGE || request->count > 0);
    PS_CHECK(request->count <= PS_SIM_MOST_CHOICES);
    for (size_t i = 0; i < request->count; i++) {
        const struct ps_sim_prompt *prompt = &request->prompts[i];
        uint64_t tokens = ps_sim_chain_tokens(&prompt->chain);
        PS_CHECK(tokens > 0 && tokens + prompt->want <= MAX_MODEL_LEN);
        PS_CHECK(prompt->text_bytes <= 4 * prompt->want);
        PS_CHECK((prompt->want > 0) != (request->kind == PS_SIM_EMBEDDING));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_sim_opts opts;
    struct ps_sim_request request;
    struct ps_sim_refusal refusal;
    if (size == 0) {
        return 0;
    }
    char *body = malloc(size); /* its own allocation, so that reading beyond it is seen */
    PS_CHECK(body != NULL);
    memcpy(body, data + 1, size - 1);
    ps_sim_opts_init(&opts);
    opts.embedding_dimensions = 16;
    int err = ps_sim_request_parse((enum ps_sim_kind)(data[0] % 5), (struct ps_str){body, size - 1},
                                   &opts, MAX_MODEL_LEN, &request, &refusal);
    if (err == PS_OK) {
        check_request(&request);
        ps_sim_request_fini(&request);
    } else if (err == PS_EINVAL) {
        check_refusal(&refusal);
    }
    free(body);
    return 0;
}
