#include "sim/call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/server.h"
#include "sim/json.h"
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
    uint64_t work; /* bytes that it has of the model's pool */
    bool done;
    bool aborted;
    bool closed; /* its last event is written */
};

struct call {
    struct ps_sim_party party;
    struct ps_sim_desk *desk;
    const struct ps_sim_dialect *dialect;
    struct ps_exchange *exchange;
    struct ps_sim_request request;
    struct ps_sim_answer answer;
    json_t *given; /* a reference, or NULL */
    char id[PS_SIM_ID_TEXT];
    struct choice *choices;
    size_t submitted; /* choices that the engine has or had */
    size_t left;      /* choices not done */
    size_t slot;
    bool uses_slot;
    ps_span delay; /* until the model is there */
    ps_time began;
    struct ps_sim_image image;
};

static struct choice *choice_of(struct ps_sim_seq *seq)
{
    return PS_CONTAINER_OF(seq, struct choice, seq);
}

static size_t index_of(const struct choice *choice)
{
    return (size_t)(choice - choice->call->choices);
}

static struct ps_sim_prompt *prompt_of(const struct choice *choice)
{
    return &choice->call->request.prompts[index_of(choice)];
}

/* --- memory to run in ------------------------------------------------------------------------- */

static uint64_t work_bytes(const struct choice *choice)
{
    uint64_t tokens = choice->seq.prompt_tokens + choice->seq.want;
    uint64_t bytes = 0;
    uint64_t each = choice->call->desk->opts->work_bytes_per_token;
    return __builtin_mul_overflow(tokens, each, &bytes) ? UINT64_MAX : bytes;
}

static int take_work(struct ps_sim_seq *seq)
{
    struct choice *choice = choice_of(seq);
    uint64_t bytes = work_bytes(choice);
    int err = ps_sim_memory_take(&choice->call->desk->memory, choice->call->slot, bytes);
    choice->work = err == PS_OK ? bytes : 0;
    return err;
}

static void give_work(struct choice *choice)
{
    struct ps_sim_desk *desk = choice->call->desk;
    if (choice->work > 0) {
        ps_sim_memory_give(&desk->memory, choice->call->slot, choice->work, desk->opts->leak_bytes);
        choice->work = 0;
    }
}

/* --- life ------------------------------------------------------------------------------------- */

static void free_call(struct call *call)
{
    for (size_t i = 0; i < call->submitted; i++) {
        struct choice *choice = &call->choices[i];
        if (!choice->done || choice->aborted) {
            call->desk->metrics.aborted++;
        }
        ps_sim_engine_cancel(call->desk->engine, &choice->seq);
        give_work(choice);
        ps_sim_seq_fini(&choice->seq);
    }
    ps_sim_engine_cancel_image(call->desk->engine, &call->image);
    if (call->uses_slot) {
        ps_sim_desk_unuse(call->desk, call->slot);
    }
    free(call->choices);
    json_decref(call->given);
    ps_sim_request_fini(&call->request);
    ps_list_remove(&call->party.link);
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

static void refuse(struct call *call, const struct ps_sim_refusal *refusal)
{
    struct ps_exchange *exchange = call->exchange;
    struct ps_sim_desk *desk = call->desk;
    free_call(call);
    ps_sim_ask_refuse_exchange(desk, exchange, refusal);
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

/* --- what a piece says ------------------------------------------------------------------------ */

static struct ps_sim_timing timing_of(const struct call *call, const struct ps_sim_seq *seq)
{
    ps_time now = ps_sim_desk_now(call->desk);
    struct ps_sim_timing timing = {.total = now - call->began, .load = call->delay};
    ps_time first = seq->first_token != 0 ? seq->first_token : now;
    if (seq->started != 0) {
        timing.queue = seq->started - call->began - call->delay;
        timing.prompt = first - seq->started;
        timing.decode = now - first;
    }
    return timing;
}

static const char *finish_of(const struct choice *choice)
{
    return choice->aborted ? "abort" : prompt_of(choice)->stopped ? "stop" : "length";
}

/* Of the text that was just taken; the call's clock is read here. */
static struct ps_sim_piece piece_of(struct choice *choice, bool begin, struct ps_str text,
                                    bool last)
{
    struct call *call = choice->call;
    call->answer.wall = ps_sim_desk_wall(call->desk);
    return (struct ps_sim_piece){
        .index = index_of(choice),
        .begin = begin,
        .text = text,
        .finish = last ? finish_of(choice) : NULL,
        .prompt = prompt_of(choice),
        .tokens = {.prompt = choice->seq.prompt_tokens,
                   .cached = choice->seq.hit,
                   .completion = choice->sent_tokens},
        .shown = choice->sent_bytes,
        .timing = timing_of(call, &choice->seq),
    };
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

/* Appends the events that are due for one choice: usually one, several after a pause. */
static int append_events(struct choice *choice, struct ps_buf *out)
{
    int err = PS_OK;
    char text[4096];
    const struct ps_sim_dialect *dialect = choice->call->dialect;
    size_t cap = dialect->each_token ? PS_SIM_TOKEN_BYTES : sizeof text;
    while (err == PS_OK && !choice->closed &&
           (choice->done || choice->sent_tokens < choice->seq.generated)) {
        bool begin = choice->sent_tokens == 0;
        struct ps_str words = next_text(choice, text, cap);
        choice->closed = choice->done && choice->sent_tokens == choice->seq.generated;
        struct ps_sim_piece piece = piece_of(choice, begin, words, choice->closed);
        err = dialect->chunk(out, &choice->call->answer, &piece);
    }
    return err;
}

static struct ps_sim_tokens count_tokens(const struct call *call)
{
    struct ps_sim_tokens tokens = {0};
    for (size_t i = 0; i < call->request.count; i++) {
        const struct ps_sim_seq *seq = &call->choices[i].seq;
        bool again = i > 0 && call->request.kind == PS_SIM_CHAT; /* n answers to the one prompt */
        tokens.prompt += again ? 0 : seq->prompt_tokens;
        tokens.cached += again ? 0 : seq->hit;
        tokens.completion += seq->generated;
    }
    return tokens;
}

static int append_tail(struct call *call, struct ps_buf *out)
{
    struct ps_sim_tokens tokens = count_tokens(call);
    return call->dialect->tail == NULL ? PS_OK : call->dialect->tail(out, &call->answer, &tokens);
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
    struct ps_str words = next_text(choice, text, cap);
    struct ps_sim_piece piece = piece_of(choice, true, words, true);
    int err = choice->call->dialect->choice(out, &choice->call->answer, &piece);
    free(text);
    return err;
}

static int append_choices(struct call *call, struct ps_buf *out)
{
    const struct ps_sim_dialect *dialect = call->dialect;
    struct ps_sim_tokens tokens = count_tokens(call);
    int err = dialect->begin == NULL ? PS_OK : dialect->begin(out, &call->answer);
    for (size_t i = 0; i < call->request.count && err == PS_OK; i++) {
        err = append_choice(&call->choices[i], out);
    }
    return err != PS_OK || dialect->end == NULL ? err : dialect->end(out, &call->answer, &tokens);
}

static int append_vectors(struct call *call, struct ps_buf *out)
{
    struct ps_sim_tokens tokens = count_tokens(call);
    struct ps_sim_timing timing = timing_of(call, &call->choices[0].seq);
    return call->dialect->vectors(out, &call->answer, &tokens, &timing);
}

static void answer_whole(struct call *call)
{
    struct ps_buf *out = &call->desk->scratch;
    ps_buf_clear(out);
    bool reads = call->request.kind == PS_SIM_EMBEDDING;
    int err = reads ? append_vectors(call, out) : append_choices(call, out);
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
    give_work(choice);
    ps_sim_metrics_add(&call->desk->metrics, seq, prompt_of(choice)->stopped || seq->want == 0,
                       now);
    call->left--;
    if (call->request.stream) {
        flush(call, choice);
    } else if (call->left == 0) {
        answer_whole(call);
    }
}

/* What was begun with 200 can only be broken off. */
static void refuse_for_device(struct call *call, double bytes)
{
    struct ps_sim_usage usage = ps_sim_device_usage(ps_sim_engine_device(call->desk->engine));
    struct ps_sim_refusal refusal = {.status = 500, .type = "InternalServerError"};
    (void)snprintf(
        refusal.text, sizeof refusal.text,
        "CUDA out of memory (simulated). Tried to allocate %.2f GiB. GPU 0 has a total capacity"
        " of %.2f GiB of which %.2f GiB is free.",
        bytes / 0x1p30, (double)call->desk->opts->memory / 0x1p30, (double)usage.free / 0x1p30);
    if (ps_exchange_is_started(call->exchange)) {
        reset(call);
    } else {
        refuse(call, &refusal);
    }
}

static void on_refused(struct ps_sim_seq *seq)
{
    const struct choice *choice = choice_of(seq);
    refuse_for_device(choice->call, (double)work_bytes(choice));
}

static const struct ps_sim_seq_ops seq_ops = {
    .on_token = on_token, .on_done = on_done, .on_start = take_work, .on_refused = on_refused};

static void on_image(struct ps_sim_image *image, int err, ps_time now)
{
    (void)now;
    struct call *call = PS_CONTAINER_OF(image, struct call, image);
    struct ps_buf *out = &call->desk->scratch;
    if (err != PS_OK) {
        refuse_for_device(call, (double)call->image.pixels *
                                    (double)call->desk->opts->image_bytes_per_pixel);
        return;
    }
    ps_buf_clear(out);
    if (call->dialect->pictures(out, &call->answer) != PS_OK) {
        refuse_for_memory(call);
    } else {
        respond(call);
    }
}

/* An operator ended it: what there is of the answer is the answer. */
static void end_early(struct call *call)
{
    for (size_t i = 0; i < call->submitted; i++) {
        struct choice *choice = &call->choices[i];
        if (!choice->done) {
            ps_sim_engine_cancel(call->desk->engine, &choice->seq);
            give_work(choice);
            choice->done = choice->aborted = true;
        }
    }
    if (call->request.kind == PS_SIM_IMAGE || call->request.kind == PS_SIM_EMBEDDING) {
        refuse_with(call, 503, "ServiceUnavailableError", "The request was aborted.");
    } else if (call->request.stream) {
        flush(call, NULL);
    } else {
        answer_whole(call);
    }
}

static void give_up(struct ps_sim_party *party, bool ordered)
{
    struct call *call = PS_CONTAINER_OF(party, struct call, party);
    if (ordered) {
        end_early(call);
    } else {
        reset(call);
    }
}

/* --- what the client says --------------------------------------------------------------------- */

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
        [PS_SIM_CHAT] = "chatcmpl", [PS_SIM_COMPLETION] = "cmpl", [PS_SIM_EMBEDDING] = "embd",
        [PS_SIM_IMAGE] = "img",     [PS_SIM_NATIVE] = "gen",
    };
    const char *prefix = prefixes[call->request.kind];
    struct ps_str given = ps_exchange_header(call->exchange, PS_STR("x-request-id"));
    if (is_id(given)) {
        (void)snprintf(call->id, sizeof call->id, "%s-%.*s", prefix, PS_STR_ARG(given));
    } else {
        (void)snprintf(call->id, sizeof call->id, "%s-sim%" PRIx64 "-%" PRIu64, prefix,
                       call->desk->opts->seed, call->desk->count);
    }
    ps_time wall = ps_sim_desk_wall(call->desk);
    call->answer = (struct ps_sim_answer){
        .kind = call->request.kind,
        .id = call->id,
        .model = call->desk->opts->models[call->request.model],
        .created = wall / PS_SECOND,
        .wall = wall,
        .request = &call->request,
        .own = call->desk->own,
        .given = call->given,
    };
}

static void submit_choices(struct call *call)
{
    for (size_t i = 0; i < call->request.count; i++) {
        struct choice *choice = &call->choices[i];
        struct ps_sim_prompt *prompt = &call->request.prompts[i];
        choice->call = call;
        choice->made = choice->sent = ps_sim_words_make(prompt->seed);
        choice->seq.ops = &seq_ops;
        choice->seq.want = prompt->want;
        choice->seq.chain = prompt->chain;
        choice->seq.delay = call->delay;
        prompt->chain = (struct ps_sim_chain){0};
        ps_sim_engine_submit(call->desk->engine, &choice->seq, call->began);
        call->submitted++;
        call->left++;
    }
}

static int start_stream(struct call *call)
{
    char headers[200];
    int len = snprintf(headers, sizeof headers,
                       PS_SIM_HEADERS "Content-Type: %s\r\nCache-Control: no-cache\r\n",
                       call->dialect->stream_type);
    return ps_exchange_start(call->exchange, 200, PS_STR("OK"),
                             (struct ps_str){headers, (size_t)len}, PS_LENGTH_UNKNOWN);
}

static void submit_image(struct call *call)
{
    const struct ps_sim_request *request = &call->request;
    call->image.pixels = (uint64_t)request->width * request->height * request->pictures;
    call->image.steps = request->steps;
    call->image.ready = call->began + call->delay;
    call->image.on_done = on_image;
    ps_sim_engine_submit_image(call->desk->engine, &call->image);
}

static int submit(struct call *call)
{
    int err = ps_sim_desk_wake(call->desk);
    if (err != PS_OK) {
        return err;
    }
    if (call->request.kind == PS_SIM_IMAGE) {
        submit_image(call);
        return PS_OK;
    }
    call->choices = calloc(call->request.count, sizeof *call->choices);
    if (call->choices == NULL) {
        return PS_ENOMEM;
    }
    err = call->request.stream ? start_stream(call) : PS_OK;
    if (err == PS_OK) {
        submit_choices(call);
    }
    return err;
}

/* Is there a place for it, and the model? Otherwise it is answered. */
static bool let_in(struct call *call)
{
    struct ps_sim_desk *desk = call->desk;
    struct ps_sim_refusal refusal;
    uint64_t most = desk->opts->max_queue;
    if (most > 0 && ps_sim_engine_load(desk->engine) >= most) {
        int status = desk->personality->full_status;
        refuse_with(call, status == 0 ? 503 : status, "overloaded",
                    "The server is busy: too many requests are pending.");
        return false;
    }
    call->slot = ps_sim_desk_slot(desk, call->request.model);
    if (ps_sim_desk_use(desk, call->slot, &call->delay, &refusal) != PS_OK) {
        refuse(call, &refusal);
        return false;
    }
    call->uses_slot = true;
    desk->metrics.requests++;
    return true;
}

/* Some servers don't look at the model's name. */
static int settle_model(const struct ps_sim_desk *desk, json_t *plain)
{
    const char *name = ps_sim_json_text(plain, "model", "");
    if (!desk->personality->any_model) {
        return 0;
    }
    for (size_t i = 0; i < desk->opts->model_count; i++) {
        if (strcmp(name, desk->opts->models[i]) == 0) {
            return 0;
        }
    }
    return json_object_set_new(plain, "model", json_string(desk->opts->models[0]));
}

static int read_request(const struct ps_sim_ask *ask, enum ps_sim_kind kind, json_t *plain,
                        struct ps_sim_request *request, struct ps_sim_refusal *refusal)
{
    if (plain == NULL || settle_model(ask->desk, plain) != 0) {
        return PS_ENOMEM;
    }
    return ps_sim_request_read(kind, plain, ask->desk->opts,
                               ps_sim_engine_max_model_len(ask->desk->engine), request, refusal);
}

static const struct ps_exchange_ops exchange_ops = {.on_drain = on_drain, .on_abort = on_abort};

static struct call *new_call(const struct ps_sim_ask *ask, const struct ps_sim_dialect *dialect,
                             const struct ps_sim_request *request, json_t *given)
{
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        return NULL;
    }
    call->desk = ask->desk;
    call->dialect = dialect;
    call->exchange = ask->exchange;
    call->request = *request;
    call->given = json_incref(given);
    call->began = ps_sim_desk_now(ask->desk);
    call->party.give_up = give_up;
    ps_list_push(&ask->desk->parties, &call->party.link);
    ps_exchange_handle(ask->exchange, &exchange_ops, call);
    return call;
}

static void begin_call(struct call *call)
{
    name_answer(call);
    if (!let_in(call)) {
        return;
    }
    if (submit(call) != PS_OK) {
        if (ps_exchange_is_started(call->exchange)) {
            reset(call);
        } else {
            refuse_for_memory(call);
        }
    }
}

void ps_sim_call_start(const struct ps_sim_ask *ask, enum ps_sim_kind kind,
                       const struct ps_sim_dialect *dialect, json_t *plain, json_t *given)
{
    struct ps_sim_request request = {0};
    struct ps_sim_refusal refusal;
    struct call *call = NULL;
    int err = read_request(ask, kind, plain, &request, &refusal);
    json_decref(plain);
    if (err == PS_EINVAL) {
        ps_sim_ask_refuse(ask, &refusal);
        return;
    }
    if (err == PS_OK) {
        call = new_call(ask, dialect, &request, given);
    }
    if (call == NULL) {
        ps_sim_request_fini(&request);
        ps_sim_ask_refuse_with(ask, 503, "ServiceUnavailableError",
                               "The simulation itself is out of memory.");
        return;
    }
    begin_call(call);
}
