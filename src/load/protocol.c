/* protocol - see protocol.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/protocol.h"

#include <stddef.h>

#define JSON PS_STR_INIT("application/json")

const char *const ps_protocol_names[] = {
    [PS_PROTOCOL_OPENAI] = "openai",
    [PS_PROTOCOL_OLLAMA] = "ollama",
    [PS_PROTOCOL_COMFYUI] = "comfyui",
    [PS_PROTOCOL_COUNT] = NULL,
};

struct protocol {
    struct ps_protocol_call chat;
    struct ps_protocol_call embedding; /* no path: there is none */
};

/* clang-format off */
static const struct protocol protocols[PS_PROTOCOL_COUNT] = {
    [PS_PROTOCOL_OPENAI] = {
        {PS_STR_INIT("/v1/chat/completions"), PS_STR_INIT("text/event-stream"), PS_FRAMING_EVENTS},
        {PS_STR_INIT("/v1/embeddings"), JSON, PS_FRAMING_WHOLE}},
    [PS_PROTOCOL_OLLAMA] = {
        {PS_STR_INIT("/api/chat"), PS_STR_INIT("application/x-ndjson"), PS_FRAMING_LINES},
        {PS_STR_INIT("/api/embed"), JSON, PS_FRAMING_WHOLE}},
    [PS_PROTOCOL_COMFYUI] = {
        {PS_STR_INIT("/prompt"), JSON, PS_FRAMING_JOB},
        {{NULL, 0}, {NULL, 0}, PS_FRAMING_WHOLE}},
};
/* clang-format on */

enum ps_protocol ps_protocol_find(struct ps_str name)
{
    int i = 0;
    while (i < PS_PROTOCOL_COUNT && !ps_str_eq(name, ps_str_from(ps_protocol_names[i]))) {
        i++;
    }
    return (enum ps_protocol)i;
}

const struct ps_protocol_call *ps_protocol_call(enum ps_protocol protocol, enum ps_plan_kind kind)
{
    const struct protocol *row = &protocols[protocol];
    const struct ps_protocol_call *call = kind == PS_PLAN_CHAT ? &row->chat : &row->embedding;
    return call->path.len > 0 ? call : NULL;
}
