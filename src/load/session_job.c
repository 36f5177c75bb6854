/* session_job - a picture from ComfyUI: handed in, asked for, fetched.
 *
 *      POST /prompt -> id --(every 250 ms)--> GET /history/ID -> file --> GET /view -> bytes
 *
 * Each step is a call of its own, as a client without a WebSocket makes them; a gateway must lead all
 * of them to the same server. The result is the job's: from the intended time to the picture's last
 * byte.
 *
 * Formats: ComfyUI's server.py and execution.py: {"prompt_id":ID,...};
 * {ID:{"status":{"status_str","completed"},"outputs":{NODE:{"images":[{"filename","subfolder","type"}]}}}}.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load/session_private.h"
#include "load/target.h"

#define ASK_EVERY   (250 * PS_MILLISECOND)
#define ANSWER_MAX  (256u * 1024u) /* of what is read: ids and histories */
#define PICTURE_MAX (64u * 1024u * 1024u)
#define ID_MAX      64
#define PATH_MAX_LEN 1024u

enum step { HAND_IN, ASK, FETCH };

struct ps_session_job {
    struct ps_session *session;
    struct ps_timer timer; /* the next question */
    enum step step;
    char id[ID_MAX + 1];
    struct ps_buf answer;
    size_t picture; /* bytes so far */
};

void ps_session_job_free(struct ps_session_job *job)
{
    if (job != NULL) {
        ps_timer_clear(job->session->loop, &job->timer);
        ps_buf_fini(&job->answer);
        free(job);
    }
}

static void give_up(struct ps_session_job *job, enum ps_failure failure, const char *why)
{
    ps_session_explain(job->session, why);
    ps_session_finish(job->session, failure);
}

/* ------------------------------------------------------------------------------ what is read */

static bool is_id(const char *text)
{
    size_t len = text == NULL ? 0 : strlen(text);
    return len > 0 && len <= ID_MAX &&
           strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") == len;
}

static bool read_id(struct ps_session_job *job, const json_t *json)
{
    const char *id = json_string_value(json_object_get(json, "prompt_id"));
    bool known = is_id(id);
    if (known) {
        snprintf(job->id, sizeof job->id, "%s", id);
    }
    return known;
}

/* The first picture of a job's outputs, or NULL. */
static const json_t *find_picture(const json_t *job)
{
    void *at;
    json_t *outputs = json_object_get(job, "outputs");
    for (at = json_object_iter(outputs); at != NULL; at = json_object_iter_next(outputs, at)) {
        const json_t *images = json_object_get(json_object_iter_value(at), "images");
        if (json_array_size(images) > 0) {
            return json_array_get(images, 0);
        }
    }
    return NULL;
}

static int append_encoded(struct ps_buf *out, const char *name, const json_t *text)
{
    const char *at = json_string_value(text);
    int err = ps_buf_printf(out, "%s", name);
    for (; err == PS_OK && at != NULL && *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at;
        bool plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                     (byte >= 'A' && byte <= 'Z') || strchr("-._~", byte) != NULL;
        err = ps_buf_printf(out, plain ? "%c" : "%%%02X", byte);
    }
    return err;
}

static int picture_path(const json_t *picture, struct ps_buf *out)
{
    int err = append_encoded(out, "/view?filename=", json_object_get(picture, "filename"));
    err = err != PS_OK ? err : append_encoded(out, "&subfolder=", json_object_get(picture, "subfolder"));
    return err != PS_OK ? err : append_encoded(out, "&type=", json_object_get(picture, "type"));
}

/* --------------------------------------------------------------------------------- the steps */

static const struct ps_call_ops call_ops;

static void send_step(struct ps_session_job *job, enum step step, struct ps_str path,
                      struct ps_str accept)
{
    struct ps_buf head = ps_buf_make(PS_SESSION_HEAD_MAX);
    job->step = step;
    int err = ps_target_head(job->session->target, path, accept, 0, &head);
    if (err == PS_OK) {
        const struct ps_call_request request = {.head = ps_buf_str(&head)};
        err = ps_session_send(job->session, &request, &call_ops);
    }
    ps_buf_fini(&head);
    if (err != PS_OK) {
        give_up(job, PS_FAILURE_GENERATOR, ps_err_text(err));
    }
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_session_job *job = PS_CONTAINER_OF(timer, struct ps_session_job, timer);
    char path[ID_MAX + 16];
    (void)now;
    int len = snprintf(path, sizeof path, "/history/%s", job->id);
    send_step(job, ASK, (struct ps_str){path, (size_t)len}, PS_STR("application/json"));
}

static void ask_later(struct ps_session_job *job)
{
    struct ps_loop *loop = job->session->loop;
    job->timer.on_time = on_time;
    if (ps_timer_set(loop, &job->timer, ps_loop_now(loop) + ASK_EVERY) != PS_OK) {
        give_up(job, PS_FAILURE_GENERATOR, ps_err_text(PS_ENOMEM));
    }
}

static void fetch(struct ps_session_job *job, const json_t *picture)
{
    struct ps_buf path = ps_buf_make(PATH_MAX_LEN);
    if (picture_path(picture, &path) != PS_OK) {
        give_up(job, PS_FAILURE_BAD_ANSWER, "the picture's name can't be asked for");
    } else {
        send_step(job, FETCH, ps_buf_str(&path), PS_STR("*/*"));
    }
    ps_buf_fini(&path);
}

static void on_history(struct ps_session_job *job, const json_t *json)
{
    const json_t *entry = json_object_get(json, job->id);
    const char *status = json_string_value(json_object_get(json_object_get(entry, "status"), "status_str"));
    const json_t *picture = find_picture(entry);
    if (entry == NULL) {
        ask_later(job); /* it waits or runs */
    } else if (status != NULL && strcmp(status, "error") == 0) {
        give_up(job, PS_FAILURE_STREAM_ERROR, "the job failed");
    } else if (picture == NULL) {
        give_up(job, PS_FAILURE_BAD_ANSWER, "the job has no picture");
    } else {
        fetch(job, picture);
    }
}

/* A whole answer of JSON came. */
static void on_answer(struct ps_session_job *job)
{
    struct ps_str text = ps_buf_str(&job->answer);
    json_t *json = json_loadb(text.ptr == NULL ? "" : text.ptr, text.len, 0, NULL);
    ps_buf_clear(&job->answer);
    if (!json_is_object(json)) {
        give_up(job, PS_FAILURE_BAD_ANSWER, "no JSON object");
    } else if (job->step == ASK) {
        on_history(job, json);
    } else if (read_id(job, json)) {
        ask_later(job);
    } else {
        give_up(job, PS_FAILURE_BAD_ANSWER, "no prompt_id");
    }
    json_decref(json);
}

/* --------------------------------------------------------------------------------- the calls */

static void on_head(void *ctx, const struct ps_h1_head *head)
{
    struct ps_session *session = ctx;
    ps_session_note_head(session, head);
}

static void on_body(void *ctx, struct ps_str data)
{
    struct ps_session *session = ctx;
    struct ps_session_job *job = session->job;
    session->result.bytes += data.len;
    if (session->result.failure != PS_FAILURE_NONE) {
        ps_session_keep_detail(session, data);
    } else if (job->step == FETCH) {
        job->picture += data.len < PICTURE_MAX ? data.len : PICTURE_MAX;
    } else if (ps_buf_append_str(&job->answer, data) != PS_OK) {
        session->result.failure = PS_FAILURE_BAD_ANSWER;
    }
}

static void on_end(void *ctx, struct ps_str trailers)
{
    struct ps_session *session = ctx;
    (void)trailers;
    if (session->result.failure != PS_FAILURE_NONE) {
        ps_session_finish(session, session->result.failure);
    } else if (session->job->step == FETCH) {
        ps_session_finish(session, session->job->picture > 0 ? PS_FAILURE_NONE : PS_FAILURE_BAD_ANSWER);
    } else {
        session->call = NULL;
        on_answer(session->job);
    }
}

static void on_error(void *ctx, const struct ps_call_error *error)
{
    ps_session_fail_call(ctx, error);
}

static const struct ps_call_ops call_ops = {
    .on_head = on_head,
    .on_body = on_body,
    .on_end = on_end,
    .on_error = on_error,
};

int ps_session_job_start(struct ps_session *session, const struct ps_call_request *request)
{
    struct ps_session_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        return PS_ENOMEM;
    }
    job->session = session;
    job->answer = ps_buf_make(ANSWER_MAX);
    session->job = job;
    return ps_session_send(session, request, &call_ops);
}
