#include "sim/answer.h"

#include <inttypes.h>

#include "base/writer.h"
#include "sim/embed.h"
#include "sim/png.h"

static int put_finish(struct ps_buf *out, const char *finish)
{
    return finish == NULL ? ps_buf_append_str(out, PS_STR("null"))
                          : ps_buf_printf(out, "\"%s\"", finish);
}

static const char *object_name(const struct ps_sim_answer *answer, bool chunk)
{
    if (answer->kind == PS_SIM_CHAT) {
        return chunk ? "chat.completion.chunk" : "chat.completion";
    }
    return "text_completion";
}

static int put_head(struct ps_buf *out, const struct ps_sim_answer *answer, bool chunk)
{
    return ps_buf_printf(out,
                         "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%" PRId64
                         ",\"model\":\"%s\","
                         "\"simulated\":true,\"choices\":[",
                         answer->id, object_name(answer, chunk), answer->created, answer->model);
}

static int put_usage(struct ps_buf *out, const struct ps_sim_tokens *tokens)
{
    return ps_buf_printf(out,
                         "\"usage\":{\"prompt_tokens\":%" PRIu64 ",\"total_tokens\":%" PRIu64
                         ",\"completion_tokens\":%" PRIu64 ",\"prompt_tokens_details\":"
                         "{\"cached_tokens\":%" PRIu64 "}}",
                         tokens->prompt, tokens->prompt + tokens->completion, tokens->completion,
                         tokens->cached);
}

int ps_sim_answer_chunk(struct ps_buf *out, const struct ps_sim_answer *answer, size_t index,
                        bool begin, struct ps_str text, const char *finish)
{
    const char *before = "\"text\":\"";
    const char *after = "\"";
    if (answer->kind == PS_SIM_CHAT) {
        before = begin ? "\"delta\":{\"role\":\"assistant\",\"content\":\""
                       : "\"delta\":{\"content\":\"";
        after = "\"}";
    }
    int err = ps_buf_append_str(out, PS_STR("data: "));
    err = PS_THEN(err, put_head(out, answer, true));
    err = PS_THEN(err, ps_buf_printf(out, "{\"index\":%zu,%s", index, before));
    err = PS_THEN(err, ps_buf_append_str(out, text));
    err = PS_THEN(err, ps_buf_printf(out, "%s,\"logprobs\":null,\"finish_reason\":", after));
    err = PS_THEN(err, put_finish(out, finish));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("}]}\n\n")));
}

int ps_sim_answer_usage_chunk(struct ps_buf *out, const struct ps_sim_answer *answer,
                              const struct ps_sim_tokens *tokens)
{
    int err = ps_buf_append_str(out, PS_STR("data: "));
    err = PS_THEN(err, put_head(out, answer, true));
    err = PS_THEN(err, ps_buf_append_str(out, PS_STR("],")));
    err = PS_THEN(err, put_usage(out, tokens));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("}\n\n")));
}

int ps_sim_answer_begin(struct ps_buf *out, const struct ps_sim_answer *answer)
{
    return put_head(out, answer, false);
}

int ps_sim_answer_choice(struct ps_buf *out, const struct ps_sim_answer *answer, size_t index,
                         struct ps_str text, const char *finish)
{
    bool chat = answer->kind == PS_SIM_CHAT;
    int err =
        ps_buf_printf(out, "%s{\"index\":%zu,%s", index == 0 ? "" : ",", index,
                      chat ? "\"message\":{\"role\":\"assistant\",\"content\":\"" : "\"text\":\"");
    err = PS_THEN(err, ps_buf_append_str(out, text));
    err = PS_THEN(err, ps_buf_printf(out, "%s,\"logprobs\":null,\"finish_reason\":",
                                     chat ? "\",\"tool_calls\":[]}" : "\""));
    err = PS_THEN(err, put_finish(out, finish));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("}")));
}

int ps_sim_answer_end(struct ps_buf *out, const struct ps_sim_tokens *tokens)
{
    int err = ps_buf_append_str(out, PS_STR("],"));
    err = PS_THEN(err, put_usage(out, tokens));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("}")));
}

static int put_embedding(struct ps_buf *out, const struct ps_sim_request *request, size_t index)
{
    const int32_t *vector = request->prompts[index].vector;
    int err = ps_buf_printf(out, "%s{\"index\":%zu,\"object\":\"embedding\",\"embedding\":",
                            index == 0 ? "" : ",", index);
    err = PS_THEN(err, request->base64 ? ps_sim_embed_base64(out, vector, request->dimensions)
                                       : ps_sim_embed_json(out, vector, request->dimensions));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("}")));
}

int ps_sim_answer_embeddings(struct ps_buf *out, const struct ps_sim_answer *answer,
                             const struct ps_sim_request *request, uint64_t tokens)
{
    int err = ps_buf_printf(out,
                            "{\"id\":\"%s\",\"object\":\"list\",\"created\":%" PRId64
                            ",\"model\":\"%s\",\"simulated\":true,\"data\":[",
                            answer->id, answer->created, answer->model);
    for (size_t i = 0; i < request->count && err == PS_OK; i++) {
        err = put_embedding(out, request, i);
    }
    err = PS_THEN(err, ps_buf_append_str(out, PS_STR("],")));
    err = PS_THEN(err, put_usage(out, &(struct ps_sim_tokens){.prompt = tokens}));
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("}")));
}

static int put_picture(struct ps_buf *out, const struct ps_sim_request *request, size_t index)
{
    struct ps_buf file = ps_buf_make(64u << 20);
    int err = ps_sim_png(&file, request->width, request->height, request->picture_seed + index);
    err = PS_THEN(err, ps_buf_append_str(out, index == 0 ? PS_STR("{\"b64_json\":\"")
                                                         : PS_STR(",{\"b64_json\":\"")));
    err = PS_THEN(err, ps_sim_base64(out, file.data, file.len));
    ps_buf_fini(&file);
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("\"}")));
}

int ps_sim_answer_images(struct ps_buf *out, const struct ps_sim_answer *answer,
                         const struct ps_sim_request *request)
{
    int err = ps_buf_printf(
        out,
        "{\"created\":%" PRId64 ",\"model\":\"%s\",\"simulated\":true,"
        "\"output_format\":\"png\",\"size\":\"%ux%u\",\"steps\":%" PRIu64 ",\"data\":[",
        answer->created, answer->model, request->width, request->height, request->steps);
    for (size_t i = 0; i < request->pictures && err == PS_OK; i++) {
        err = put_picture(out, request, i);
    }
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("]}")));
}

int ps_sim_answer_error(struct ps_buf *out, const struct ps_sim_refusal *refusal)
{
    int err = ps_buf_append_str(out, PS_STR("{\"error\":{\"message\":\""));
    err = PS_THEN(err, ps_buf_append_json(out, ps_str_from(refusal->text)));
    err = PS_THEN(err, ps_buf_printf(out, "\",\"type\":\"%s\",\"param\":", refusal->type));
    err = PS_THEN(err, refusal->param == NULL ? ps_buf_append_str(out, PS_STR("null"))
                                              : ps_buf_printf(out, "\"%s\"", refusal->param));
    return PS_THEN(err, ps_buf_printf(out, ",\"code\":%d},\"simulated\":true}", refusal->status));
}
