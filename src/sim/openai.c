#include "sim/openai.h"

#include <jansson.h>
#include <string.h>

#include "sim/call.h"
#include "sim/json.h"

/* --- the writers, as a dialect ---------------------------------------------------------------- */

static int put_chunk(struct ps_buf *out, const struct ps_sim_answer *answer,
                     const struct ps_sim_piece *piece)
{
    return ps_sim_answer_chunk(out, answer, piece->index, piece->begin, piece->text, piece->finish);
}

static int put_tail(struct ps_buf *out, const struct ps_sim_answer *answer,
                    const struct ps_sim_tokens *tokens)
{
    int err =
        answer->request->include_usage ? ps_sim_answer_usage_chunk(out, answer, tokens) : PS_OK;
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("data: [DONE]\n\n")) : err;
}

static int put_choice(struct ps_buf *out, const struct ps_sim_answer *answer,
                      const struct ps_sim_piece *piece)
{
    return ps_sim_answer_choice(out, answer, piece->index, piece->text, piece->finish);
}

static int put_end(struct ps_buf *out, const struct ps_sim_answer *answer,
                   const struct ps_sim_tokens *tokens)
{
    (void)answer;
    return ps_sim_answer_end(out, tokens);
}

static int put_vectors(struct ps_buf *out, const struct ps_sim_answer *answer,
                       const struct ps_sim_tokens *tokens, const struct ps_sim_timing *timing)
{
    (void)timing;
    return ps_sim_answer_embeddings(out, answer, answer->request, tokens->prompt);
}

static int put_pictures(struct ps_buf *out, const struct ps_sim_answer *answer)
{
    return ps_sim_answer_images(out, answer, answer->request);
}

const struct ps_sim_dialect ps_sim_openai = {
    .stream_type = "text/event-stream; charset=utf-8",
    .chunk = put_chunk,
    .tail = put_tail,
    .begin = ps_sim_answer_begin,
    .choice = put_choice,
    .end = put_end,
    .vectors = put_vectors,
    .pictures = put_pictures,
};

int ps_sim_openai_refusal(struct ps_buf *out, const struct ps_sim_refusal *refusal)
{
    return ps_sim_answer_error(out, refusal);
}

int ps_sim_openai_flat_refusal(struct ps_buf *out, const struct ps_sim_refusal *refusal)
{
    return ps_sim_json_dump(out, json_pack("{s:s,s:s,s:s,s:s?,s:i}", "object", "error", "message",
                                           refusal->text, "type", refusal->type, "param",
                                           refusal->param, "code", refusal->status));
}

/* --- routes ----------------------------------------------------------------------------------- */

static void start(const struct ps_sim_ask *ask, enum ps_sim_kind kind)
{
    json_t *body = ps_sim_ask_object(ask, false);
    if (body == NULL) {
        return;
    }
    const struct ps_sim_personality *personality = ask->desk->personality;
    if (personality->rename != NULL) {
        personality->rename(ask->desk, body);
    }
    ps_sim_call_start(ask, kind, &ps_sim_openai, body, NULL);
}

void ps_sim_openai_chat(const struct ps_sim_ask *ask)
{
    start(ask, PS_SIM_CHAT);
}

void ps_sim_openai_completion(const struct ps_sim_ask *ask)
{
    start(ask, PS_SIM_COMPLETION);
}

void ps_sim_openai_embedding(const struct ps_sim_ask *ask)
{
    start(ask, PS_SIM_EMBEDDING);
}

void ps_sim_openai_image(const struct ps_sim_ask *ask)
{
    start(ask, PS_SIM_IMAGE);
}

static int append_models(const struct ps_sim_desk *desk, struct ps_buf *out)
{
    const struct ps_sim_opts *opts = desk->opts;
    long long created = ps_sim_desk_wall(desk) / PS_SECOND;
    int err = ps_buf_append_str(out, PS_STR("{\"object\":\"list\",\"simulated\":true,\"data\":["));
    for (size_t i = 0; i < opts->model_count && err == PS_OK; i++) {
        err = ps_buf_printf(
            out,
            "%s{\"id\":\"%s\",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"%s\","
            "\"root\":\"%s\",\"parent\":null,\"max_model_len\":%llu,\"simulated\":true}",
            i == 0 ? "" : ",", opts->models[i], created, desk->personality->owner, opts->models[i],
            (unsigned long long)ps_sim_engine_max_model_len(desk->engine));
    }
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("]}")) : err;
}

void ps_sim_openai_models(const struct ps_sim_ask *ask)
{
    ps_buf_clear(&ask->desk->scratch);
    int err = append_models(ask->desk, &ask->desk->scratch);
    ps_sim_ask_scratch(ask, err, PS_STR("application/json"));
}
