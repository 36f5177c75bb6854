#include "sim/call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/server.h"
#include "sim/answer.h"
#include "sim/words.h"

/* Unsent bytes above which a stream waits for its reader. */
#define STREAM_BACKLOG   ((size_t)64 << 10)
#define LONGEST_GIVEN_ID 64

struct call;

/* One prompt on its way through the engine. */
struct choice {
    struct ps_sim_seq seq;
    struct call *call;
    struct ps_sim_words made; /* follows the engine, for the cache's sake */
    struct ps_sim_words sent; /* follows the client */
    uint64_t sent_tokens;
    uint64_t sent_bytes;
    bool done;
    bool closed; /* its last event is written */
};

struct call {
    struct ps_sim_desk *desk;
    struct ps_exchange *exchange;
    struct ps_list link;
    enum ps_sim_kind kind;
    struct ps_buf body;
    struct ps_sim_request request;
    struct ps_sim_answer answer;
    char id[PS_SIM_ID_TEXT];
    struct choice *choices;
    size_t submitted; /* choices that the engine has or had */
    size_t left;      /* choices not done */
    struct ps_sim_image image;
};

static struct choice *choice_of(struct ps_sim_seq *seq)
{
    return PS_CONTAINER_OF(seq, struct choice, seq);
}

static struct ps_sim_prompt *prompt_of(const struct choice *choice)
{
    return &choice->call->request.prompts[choice - choice->call->choices];
}

/* --- life ------------------------------------------------------------------------------------- */

static void free_call(struct call *call)
{
    for (size_t i = 0; i < call->submitted; i++) {
        struct choice *choice = &call->choices[i];
        if (!choice->done) {
            call->desk->metrics.aborted++;
        }
        ps_sim_engine_cancel(call->desk->engine, &choice->seq);
        ps_sim_seq_fini(&choice->seq);
    }
    ps_sim_engine_cancel_image(call->desk->engine, &call->image);
    ps_budget_give(&call->desk->budget, call->body.len);
    ps_buf_fini(&call->body);
    free(call->choices);
    ps_sim_request_fini(&call->request);
    ps_list_remove(&call->link);
    free(call);
}

/* The exchange is not touched after this; a connection that can't go on is closed half said. */
static void reset(struct call *call)
{
    struct ps_exchange *exchange = call->exchange;
    free_call(call);
    ps_exchange_reset(exchange);
}

static void on_abort(void *ctx)
{
    free_call(ctx);
}

void ps_sim_call_refuse(struct ps_sim_desk *desk, struct ps_exchange *exchange,
                        const struct ps_sim_refusal *refusal)
{
    uint64_t *counter = refusal->status < 500 ? &desk->metrics.refused : &desk->metrics.failed;
    ++*counter;
    ps_buf_clear(&desk->scratch);
    if (ps_sim_answer_error(&desk->scratch, refusal) != PS_OK) {
        ps_exchange_reset(exchange);
        return;
    }
    ps_exchange_respond(exchange, refusal->status, PS_STR(PS_SIM_HEADERS),
                        PS_STR("application/json"), ps_buf_str(&desk->scratch));
}

static void refuse(struct call *call, const struct ps_sim_refusal *refusal)
{
    struct ps_exchange *exchange = call->exchange;
    struct ps_sim_desk *desk = call->desk;
    free_call(call);
    ps_sim_call_refuse(desk, exchange, refusal);
}

static void refuse_with(struct call *call, int status, const char *type, const char *text)
{
    struct ps_sim_refusal refusal = {.status = status, .type = type};
    (void)snprintf(refusal.text, sizeof refusal.text, "%s", text);
    refuse(call, &refusal);
}

static void refuse_for_memory(struct call *call)
{
    refuse_with(call, 503, "ServiceUnavailableError", "The simulation itself is out of memory.");
}

/* Sends the desk's scratch as the whole answer. */
static void respond(struct call *call)
{
    struct ps_exchange *exchange = call->exchange;
    struct ps_sim_desk *desk = call->desk;
    free_call(call);
    ps_exchange_respond(exchange, 200, PS_STR(PS_SIM_HEADERS), PS_STR("application/json"),
                        ps_buf_str(&desk->scratch));
}

/* --- answers that stream ---------------------------------------------------------------------- */

/* The next tokens that the client may see, as text: at most `cap` bytes. */
static struct ps_str next_text(struct choice *choice, char *text, size_t cap)
{
    uint64_t shown = prompt_of(choice)->text_bytes;
    size_t len = 0;
    while (choice->sent_tokens < choice->seq.generated && len + PS_SIM_TOKEN_BYTES <= cap) {
        ps_sim_words_next(&choice->sent, text + len);
        choice->sent_tokens++;
        size_t more = shown - choice->sent_bytes < PS_SIM_TOKEN_BYTES
                          ? (size_t)(shown - choice->sent_bytes)
                          : PS_SIM_TOKEN_BYTES;
        choice->sent_bytes += more;
        len += more;
    }
    return (struct ps_str){text, len};
}

static const char *finish_of(const struct choice *choice)
{
    return prompt_of(choice)->stopped ? "stop" : "length";
}

/* Appends the events that are due for one choice: usually one, several after a pause. */
static int append_events(struct choice *choice, struct ps_buf *out)
{
    int err = PS_OK;
    char text[4096];
    while (err == PS_OK && !choice->closed &&
           (choice->done || choice->sent_tokens < choice->seq.generated)) {
        bool begin = choice->sent_tokens == 0;
        struct ps_str piece = next_text(choice, text, sizeof text);
        choice->closed = choice->done && choice->sent_tokens == choice->seq.generated;
        err = ps_sim_answer_chunk(out, &choice->call->answer,
                                  (size_t)(choice - choice->call->choices), begin, piece,
                                  choice->closed ? finish_of(choice) : NULL);
    }
    return err;
}

static struct ps_sim_tokens count_tokens(const struct call *call)
{
    struct ps_sim_tokens tokens = {0};
    for (size_t i = 0; i < call->request.count; i++) {
        const struct ps_sim_seq *seq = &call->choices[i].seq;
        bool again = i > 0 && call->kind == PS_SIM_CHAT; /* n answers to the one prompt */
        tokens.prompt += again ? 0 : seq->prompt_tokens;
        tokens.cached += again ? 0 : seq->hit;
        tokens.completion += seq->generated;
    }
    return tokens;
}

static int append_tail(struct call *call, struct ps_buf *out)
{
    int err = PS_OK;
    if (call->request.include_usage) {
        struct ps_sim_tokens tokens = count_tokens(call);
        err = ps_sim_answer_usage_chunk(out, &call->answer, &tokens);
    }
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("data: [DONE]\n\n")) : err;
}

/* Writes what is due for all choices, or only one, and the end after the last. The call may be
 * gone afterwards. */
static void flush(struct call *call, struct choice *only)
{
    if (ps_exchange_queued(call->exchange) > STREAM_BACKLOG) {
        return; /* on_drain comes back */
    }
    struct ps_buf *out = &call->desk->scratch;
    ps_buf_clear(out);
    int err = PS_OK;
    bool closed = true;
    for (size_t i = 0; i < call->request.count && err == PS_OK; i++) {
        if (only == NULL || only == &call->choices[i]) {
            err = append_events(&call->choices[i], out);
        }
        closed = closed && call->choices[i].closed;
    }
    if (err == PS_OK && closed) {
        err = append_tail(call, out);
    }
    if (err == PS_OK && out->len > 0) {
        err = ps_exchange_write(call->exchange, ps_buf_str(out));
    }
    if (err != PS_OK) {
        reset(call);
    } else if (closed) {
        struct ps_exchange *exchange = call->exchange;
        free_call(call);
        ps_exchange_end(exchange, PS_STR(""));
    }
}

static void on_drain(void *ctx)
{
    struct call *call = ctx;
    if (call->request.stream && call->submitted > 0) {
        flush(call, NULL);
    }
}

/* --- answers in one piece --------------------------------------------------------------------- */

static int append_choice(struct choice *choice, struct ps_buf *out)
{
    size_t cap = choice->seq.generated * PS_SIM_TOKEN_BYTES;
    char *text = malloc(cap + 1);
    if (text == NULL) {
        return PS_ENOMEM;
    }
    int err =
        ps_sim_answer_choice(out, &choice->call->answer, (size_t)(choice - choice->call->choices),
                             next_text(choice, text, cap), finish_of(choice));
    free(text);
    return err;
}

static int append_choices(struct call *call, struct ps_buf *out)
{
    int err = ps_sim_answer_begin(out, &call->answer);
    for (size_t i = 0; i < call->request.count && err == PS_OK; i++) {
        err = append_choice(&call->choices[i], out);
    }
    struct ps_sim_tokens tokens = count_tokens(call);
    return err == PS_OK ? ps_sim_answer_end(out, &tokens) : err;
}

static void answer_whole(struct call *call)
{
    struct ps_buf *out = &call->desk->scratch;
    ps_buf_clear(out);
    int err = call->kind == PS_SIM_EMBEDDING
                  ? ps_sim_answer_embeddings(out, &call->answer, &call->request,
                                             count_tokens(call).prompt)
                  : append_choices(call, out);
    if (err != PS_OK) {
        refuse_for_memory(call);
    } else {
        respond(call);
    }
}

/* --- what the engine says --------------------------------------------------------------------- */

static void on_token(struct ps_sim_seq *seq, ps_time now)
{
    struct choice *choice = choice_of(seq);
    struct ps_sim_metrics *metrics = &choice->call->desk->metrics;
    if (seq->generated == 1) {
        ps_sim_tally_add(&metrics->first_token, ps_span_seconds(now - seq->arrived));
    } else {
        ps_sim_tally_add(&metrics->inter_token, ps_span_seconds(now - seq->last_token));
    }
    char token[PS_SIM_TOKEN_BYTES];
    ps_sim_words_next(&choice->made, token);
    if (ps_sim_chain_add(&seq->chain, (struct ps_str){token, sizeof token}) != PS_OK) {
        reset(choice->call);
        return;
    }
    /* The last token leaves with the finish reason, in on_done. */
    if (choice->call->request.stream && seq->generated < seq->want) {
        flush(choice->call, choice);
    }
}

static void on_done(struct ps_sim_seq *seq, ps_time now)
{
    struct choice *choice = choice_of(seq);
    struct call *call = choice->call;
    choice->done = true;
    ps_sim_metrics_add(&call->desk->metrics, seq, prompt_of(choice)->stopped || seq->want == 0,
                       now);
    call->left--;
    if (call->request.stream) {
        flush(call, choice);
    } else if (call->left == 0) {
        answer_whole(call);
    }
}

static const struct ps_sim_seq_ops seq_ops = {.on_token = on_token, .on_done = on_done};

static void refuse_image(struct call *call)
{
    struct ps_sim_usage usage = ps_sim_device_usage(ps_sim_engine_device(call->desk->engine));
    double bytes = (double)call->image.pixels * (double)call->desk->opts->image_bytes_per_pixel;
    struct ps_sim_refusal refusal = {.status = 500, .type = "InternalServerError"};
    (void)snprintf(
        refusal.text, sizeof refusal.text,
        "CUDA out of memory (simulated). Tried to allocate %.2f GiB. GPU 0 has a total capacity"
        " of %.2f GiB of which %.2f GiB is free.",
        bytes / 0x1p30, (double)call->desk->opts->memory / 0x1p30, (double)usage.free / 0x1p30);
    refuse(call, &refusal);
}

static void on_image(struct ps_sim_image *image, int err, ps_time now)
{
    (void)now;
    struct call *call = PS_CONTAINER_OF(image, struct call, image);
    struct ps_buf *out = &call->desk->scratch;
    if (err != PS_OK) {
        refuse_image(call);
        return;
    }
    ps_buf_clear(out);
    if (ps_sim_answer_images(out, &call->answer, &call->request) != PS_OK) {
        refuse_for_memory(call);
    } else {
        respond(call);
    }
}

/* --- what the client says --------------------------------------------------------------------- */

static void on_body(void *ctx, struct ps_str data)
{
    struct call *call = ctx;
    if (ps_budget_take(&call->desk->budget, data.len) != PS_OK) {
        refuse_for_memory(call);
        return;
    }
    if (ps_buf_append_str(&call->body, data) != PS_OK) {
        ps_budget_give(&call->desk->budget, data.len);
        refuse_for_memory(call);
    }
}

static bool is_id_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
}

static bool is_id(struct ps_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_id_byte(text.ptr[i])) {
            return false;
        }
    }
    return text.len > 0 && text.len <= LONGEST_GIVEN_ID;
}

/* vLLM takes the client's x-request-id where there is one. */
static void name_answer(struct call *call)
{
    static const char *const prefixes[] = {
        [PS_SIM_CHAT] = "chatcmpl",
        [PS_SIM_COMPLETION] = "cmpl",
        [PS_SIM_EMBEDDING] = "embd",
        [PS_SIM_IMAGE] = "img",
    };
    struct ps_str given = ps_exchange_header(call->exchange, PS_STR("x-request-id"));
    if (is_id(given)) {
        (void)snprintf(call->id, sizeof call->id, "%s-%.*s", prefixes[call->kind],
                       PS_STR_ARG(given));
    } else {
        (void)snprintf(call->id, sizeof call->id, "%s-sim%" PRIx64 "-%" PRIu64,
                       prefixes[call->kind], call->desk->opts->seed, call->desk->count);
    }
    call->answer = (struct ps_sim_answer){
        .kind = call->kind,
        .id = call->id,
        .model = call->desk->opts->models[call->request.model],
        .created = ps_clock_wall(ps_loop_clock(call->desk->loop)) / PS_SECOND,
    };
}

/* The engine is told in the next turn, so that what arrives together begins together. */
static int wake_engine(struct ps_sim_desk *desk)
{
    return ps_timer_set(desk->loop, &desk->timer, ps_loop_now(desk->loop));
}

static void submit_choices(struct call *call)
{
    ps_time now = ps_loop_now(call->desk->loop);
    for (size_t i = 0; i < call->request.count; i++) {
        struct choice *choice = &call->choices[i];
        struct ps_sim_prompt *prompt = &call->request.prompts[i];
        choice->call = call;
        choice->made = choice->sent = ps_sim_words_make(prompt->seed);
        choice->seq.ops = &seq_ops;
        choice->seq.want = prompt->want;
        choice->seq.chain = prompt->chain;
        prompt->chain = (struct ps_sim_chain){0};
        ps_sim_engine_submit(call->desk->engine, &choice->seq, now);
        call->submitted++;
        call->left++;
    }
}

static int submit(struct call *call)
{
    int err = wake_engine(call->desk);
    if (err != PS_OK) {
        return err;
    }
    if (call->kind == PS_SIM_IMAGE) {
        call->image.pixels =
            (uint64_t)call->request.width * call->request.height * call->request.pictures;
        call->image.steps = call->request.steps;
        call->image.on_done = on_image;
        ps_sim_engine_submit_image(call->desk->engine, &call->image);
        return PS_OK;
    }
    call->choices = calloc(call->request.count, sizeof *call->choices);
    if (call->choices == NULL) {
        return PS_ENOMEM;
    }
    if (call->request.stream) {
        err = ps_exchange_start(call->exchange, 200, PS_STR("OK"),
                                PS_STR(PS_SIM_HEADERS
                                       "Content-Type: text/event-stream; charset=utf-8\r\n"
                                       "Cache-Control: no-cache\r\n"),
                                PS_LENGTH_UNKNOWN);
    }
    if (err == PS_OK) {
        submit_choices(call);
    }
    return err;
}

static bool parse_body(struct call *call)
{
    struct ps_sim_refusal refusal;
    int err = ps_sim_request_parse(call->kind, ps_buf_str(&call->body), call->desk->opts,
                                   ps_sim_engine_max_model_len(call->desk->engine), &call->request,
                                   &refusal);
    if (err == PS_EINVAL) {
        refuse(call, &refusal);
    } else if (err != PS_OK) {
        refuse_for_memory(call);
    }
    return err == PS_OK;
}

static void on_body_end(void *ctx)
{
    struct call *call = ctx;
    if (ps_rng_unit(&call->desk->faults) < call->desk->opts->fail_rate) {
        refuse_with(call, 500, "InternalServerError",
                    "An error on purpose (simulated, --fail-rate).");
        return;
    }
    if (!parse_body(call)) {
        return;
    }
    ps_budget_give(&call->desk->budget, call->body.len);
    ps_buf_fini(&call->body);
    name_answer(call);
    if (submit(call) != PS_OK) {
        if (ps_exchange_is_started(call->exchange)) {
            reset(call);
        } else {
            refuse_for_memory(call);
        }
    }
}

static const struct ps_exchange_ops exchange_ops = {
    .on_body = on_body, .on_body_end = on_body_end, .on_drain = on_drain, .on_abort = on_abort};

void ps_sim_call_start(struct ps_sim_desk *desk, struct ps_exchange *exchange,
                       enum ps_sim_kind kind)
{
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        struct ps_sim_refusal refusal = {.status = 503,
                                         .type = "ServiceUnavailableError",
                                         .text = "The simulation is out of memory."};
        ps_sim_call_refuse(desk, exchange, &refusal);
        return;
    }
    call->desk = desk;
    call->exchange = exchange;
    call->kind = kind;
    call->body = ps_buf_make(desk->opts->max_body);
    desk->count++;
    ps_list_push(&desk->calls, &call->link);
    ps_exchange_handle(exchange, &exchange_ops, call);
}

void ps_sim_desk_tick(struct ps_sim_desk *desk, ps_time now)
{
    ps_time next = ps_sim_engine_tick(desk->engine, now);
    if (next != PS_NEVER && ps_timer_set(desk->loop, &desk->timer, next) != PS_OK) {
        /* Moving a timer can't fail, and this one has been in the heap. Without it all calls would
         * hang, so they end. */
        while (!ps_list_is_empty(&desk->calls)) {
            reset(PS_LIST_FIRST(&desk->calls, struct call, link));
        }
    }
}
