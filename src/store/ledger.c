#include "store/ledger.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/condition.h"
#include "base/list.h"
#include "base/spawn.h"
#include "io/mailbox.h"
#include "store/ledger_file.h"

enum { QUEUE_ENTRIES = 4096, QUESTIONS = 64, TRANSACTION_MOST = 512 };

#define QUEUE_BYTES   ((size_t)8 << 20)
#define LONGEST_RETRY PS_MINUTE
#define PRUNE_EVERY   (10 * PS_MINUTE)
#define NO_BOUND      ((int64_t)1 << 53)

/* An entry to write or a question, in one piece: its values and texts lie behind it. */
struct job {
    struct ps_letter letter; /* on its way back */
    struct job *next;        /* in the queue */
    bool is_read;
    bool replies;
    size_t most;
    size_t bytes;
    int err;
    struct ps_ledger_answer answer;
    /* the loop's own */
    struct ps_list link; /* of those that somebody waits for */
    ps_ledger_fn *on_end;
    void *ctx;

    size_t count;
    struct ps_ledger_statement statements[];
};

struct ps_ledger {
    /* constant */
    struct ps_ledger_opts opts;
    char *path;
    struct ps_mailbox *mailbox;
    pthread_t thread;

    pthread_mutex_t mutex; /* around what follows; held for a few pointer writes */
    pthread_cond_t changed;
    struct job *first;
    struct job **last;
    size_t bytes; /* of the entries */
    size_t questions;
    struct ps_ledger_stats stats;
    char why[PS_LEDGER_WHY];
    ps_span keep_age;
    uint64_t keep_rows;
    bool losing; /* entries, since the last that was written */
    bool kicked; /* something came since the thread looked last */
    bool prune;
    bool stopping;
    bool ended;
    bool abandoned; /* nobody waits: the thread frees all of it */

    /* the thread's own */
    struct ps_ledger_file *file; /* NULL = it can't be used now */
    ps_time retry_at;
    ps_span retry;
    ps_time prune_at;

    /* the loop's own */
    struct ps_list waiting;
};

/* News for the owner. */
struct news {
    struct ps_letter letter;
    bool lost; /* entries are; else the state is another */
    enum ps_ledger_state state;
    char why[PS_LEDGER_WHY];
};

/* --- back to the loop ------------------------------------------------------------------------- */

static void free_job(struct job *job)
{
    ps_ledger_answer_fini(&job->answer);
    free(job);
}

static void on_job_back(struct ps_letter *letter, void *receiver)
{
    struct job *job = PS_CONTAINER_OF(letter, struct job, letter);
    (void)receiver;
    ps_list_remove(&job->link);
    if (job->on_end != NULL) {
        job->on_end(job->ctx, job->err,
                    job->is_read && job->err == PS_OK ? &job->answer.rows : NULL);
    }
    free_job(job);
}

static void on_news(struct ps_letter *letter, void *receiver)
{
    struct news *news = PS_CONTAINER_OF(letter, struct news, letter);
    const struct ps_ledger_opts *opts = &((struct ps_ledger *)receiver)->opts;
    if (news->lost && opts->on_lost != NULL) {
        opts->on_lost(opts->ctx);
    } else if (!news->lost && opts->on_state != NULL) {
        opts->on_state(opts->ctx, news->state, news->why);
    }
    free(news);
}

/* With the mutex held: whoever abandons the thread takes the mailbox away under it. */
static bool post(struct ps_ledger *ledger, struct ps_letter *letter)
{
    if (!ledger->abandoned) {
        ps_mailbox_post(ledger->mailbox, letter);
    }
    return !ledger->abandoned;
}

/* Likewise. Out of memory it stays untold. */
static void tell(struct ps_ledger *ledger, bool lost)
{
    struct news *news = calloc(1, sizeof *news);
    if (news == NULL) {
        return;
    }
    news->letter.on_delivery = on_news;
    news->lost = lost;
    news->state = ledger->stats.state;
    memcpy(news->why, ledger->why, sizeof news->why);
    if (!post(ledger, &news->letter)) {
        free(news);
    }
}

static void leave_queue(struct ps_ledger *ledger, const struct job *job)
{
    if (job->is_read) {
        ledger->questions--;
    } else {
        ledger->stats.waiting--;
        ledger->bytes -= job->bytes;
    }
}

static void finish(struct ps_ledger *ledger, struct job *job, int err)
{
    job->err = err;
    pthread_mutex_lock(&ledger->mutex);
    leave_queue(ledger, job);
    ledger->stats.written += !job->is_read && err == PS_OK;
    ledger->stats.refused += err == PS_EINVAL;
    ledger->stats.dropped += !job->is_read && err == PS_ECANCELED;
    bool posted = job->replies && post(ledger, &job->letter);
    pthread_mutex_unlock(&ledger->mutex);
    if (!posted) {
        free_job(job);
    }
}

static void set_state(struct ps_ledger *ledger, enum ps_ledger_state state, const char *why)
{
    pthread_mutex_lock(&ledger->mutex);
    bool same = ledger->stats.state == state && strcmp(ledger->why, why) == 0;
    ledger->stats.state = state;
    ledger->stats.failures += state == PS_LEDGER_FAILED;
    ledger->stats.bytes = ledger->file == NULL ? 0 : ps_ledger_file_bytes(ledger->file);
    memmove(ledger->why, why, strlen(why) + 1);
    if (!same) {
        tell(ledger, false);
    }
    pthread_mutex_unlock(&ledger->mutex);
}

/* --- the file --------------------------------------------------------------------------------- */

static void take_file(struct ps_ledger *ledger, struct ps_ledger_file *file)
{
    ledger->file = file;
    ledger->prune_at = 0;
    set_state(ledger, PS_LEDGER_OPEN, "");
}

static void lose_file(struct ps_ledger *ledger, const char why[PS_LEDGER_WHY])
{
    ps_ledger_file_close(ledger->file);
    ledger->file = NULL;
    ledger->retry_at = ps_clock_now(ledger->opts.clock) + ledger->retry;
    ledger->retry = 2 * ledger->retry < LONGEST_RETRY ? 2 * ledger->retry : LONGEST_RETRY;
    set_state(ledger, PS_LEDGER_FAILED, why);
}

static void on_broken(struct ps_ledger *ledger)
{
    char why[PS_LEDGER_WHY];
    ps_ledger_file_roll_back(ledger->file);
    ps_ledger_file_why(ledger->file, why);
    lose_file(ledger, why);
}

static void open_file(struct ps_ledger *ledger)
{
    char why[PS_LEDGER_WHY];
    struct ps_ledger_file *file = NULL;
    if (ps_ledger_file_open(&file, ledger->path, ledger->opts.rooms, why) == PS_OK) {
        take_file(ledger, file);
    } else {
        lose_file(ledger, why);
    }
}

/* Rows of a file that was moved away or deleted would be found by nobody. */
static void look_after(struct ps_ledger *ledger)
{
    if (ledger->file != NULL && !ps_ledger_file_is_there(ledger->file)) {
        ps_ledger_file_close(ledger->file);
        ledger->file = NULL;
        ledger->retry_at = 0;
    }
    if (ledger->file == NULL && ps_clock_now(ledger->opts.clock) >= ledger->retry_at) {
        open_file(ledger);
    }
}

static void prune(struct ps_ledger *ledger)
{
    uint64_t pruned = 0;
    ps_time wall = ps_clock_wall(ledger->opts.clock);
    pthread_mutex_lock(&ledger->mutex);
    ps_span age = ledger->keep_age;
    uint64_t rows = ledger->keep_rows;
    ledger->prune = false;
    pthread_mutex_unlock(&ledger->mutex);
    ledger->prune_at = ps_clock_now(ledger->opts.clock) + PRUNE_EVERY;
    int64_t oldest = age == 0 ? INT64_MIN : (wall - age) / PS_MICROSECOND;
    int64_t most = rows == 0 || rows > (uint64_t)NO_BOUND ? NO_BOUND : (int64_t)rows;
    if ((age > 0 || rows > 0) &&
        ps_ledger_file_prune(ledger->file, oldest, most, &pruned) != PS_OK) {
        on_broken(ledger);
        return;
    }
    pthread_mutex_lock(&ledger->mutex);
    ledger->stats.pruned += pruned;
    ledger->stats.bytes = ps_ledger_file_bytes(ledger->file);
    pthread_mutex_unlock(&ledger->mutex);
}

/* --- work ------------------------------------------------------------------------------------- */

/* Writes entries up to the next question, as one transaction. Returns the first job that is not
 * done: the first of all when the file broke. */
static struct job *write_some(struct ps_ledger *ledger, struct job *first)
{
    size_t count = 0;
    struct job *job = first;
    int err = ps_ledger_file_begin(ledger->file);
    for (; err == PS_OK && job != NULL && !job->is_read && count < TRANSACTION_MOST; count++) {
        job->err = ps_ledger_file_write(ledger->file, job->statements, job->count);
        err = job->err == PS_EIO ? PS_EIO : PS_OK;
        job = job->next;
    }
    err = err != PS_OK ? err : ps_ledger_file_commit(ledger->file);
    if (err != PS_OK) {
        on_broken(ledger);
        return first;
    }
    ledger->retry = ledger->opts.retry;
    pthread_mutex_lock(&ledger->mutex);
    ledger->stats.transactions++;
    ledger->losing = false;
    pthread_mutex_unlock(&ledger->mutex);
    for (job = first; count > 0; count--) {
        struct job *next = job->next;
        finish(ledger, job, job->err);
        job = next;
    }
    return job;
}

static struct job *read_one(struct ps_ledger *ledger, struct job *job)
{
    struct job *next = job->next;
    int err = ps_ledger_file_read(ledger->file, &job->statements[0], job->most, &job->answer);
    if (err == PS_EIO) {
        on_broken(ledger);
    }
    finish(ledger, job, err);
    return next;
}

/* While there is no file questions are answered at once, and entries wait. Returns those. */
static struct job *answer_reads(struct ps_ledger *ledger, struct job *jobs, int err)
{
    struct job *kept = NULL;
    struct job **last = &kept;
    while (jobs != NULL) {
        struct job *next = jobs->next;
        if (jobs->is_read || err == PS_ECANCELED) {
            finish(ledger, jobs, err);
        } else {
            jobs->next = NULL;
            *last = jobs;
            last = &jobs->next;
        }
        jobs = next;
    }
    return kept;
}

/* In front of what came meanwhile. */
static void put_back(struct ps_ledger *ledger, struct job *jobs)
{
    struct job **last = &jobs->next;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    pthread_mutex_lock(&ledger->mutex);
    *last = ledger->first;
    ledger->last = ledger->first == NULL ? last : ledger->last;
    ledger->first = jobs;
    pthread_mutex_unlock(&ledger->mutex);
}

static bool is_prune_due(struct ps_ledger *ledger)
{
    pthread_mutex_lock(&ledger->mutex);
    bool asked = ledger->prune;
    pthread_mutex_unlock(&ledger->mutex);
    return ledger->file != NULL && (asked || ps_clock_now(ledger->opts.clock) >= ledger->prune_at);
}

/* Pruned first: nobody reads what should be gone. */
static void work(struct ps_ledger *ledger, struct job *jobs)
{
    look_after(ledger);
    if (is_prune_due(ledger)) {
        prune(ledger);
    }
    while (jobs != NULL && ledger->file != NULL) {
        jobs = jobs->is_read ? read_one(ledger, jobs) : write_some(ledger, jobs);
    }
    if (ledger->file == NULL) {
        jobs = answer_reads(ledger, jobs, PS_EIO);
    }
    if (jobs != NULL) {
        put_back(ledger, jobs);
    }
}

/* --- the thread ------------------------------------------------------------------------------- */

static struct job *take_all(struct ps_ledger *ledger)
{
    struct job *jobs = ledger->first;
    ledger->first = NULL;
    ledger->last = &ledger->first;
    return jobs;
}

/* Until something came or is due. False: it is to end. */
static bool wait_for_work(struct ps_ledger *ledger, struct job **jobs)
{
    ps_time due = ledger->file == NULL ? ledger->retry_at : ledger->prune_at;
    ps_span span = due - ps_clock_now(ledger->opts.clock);
    struct timespec until = ps_condition_deadline(span < PRUNE_EVERY ? span : PRUNE_EVERY);
    int error = span <= 0 ? 1 : 0;
    pthread_mutex_lock(&ledger->mutex);
    while (!ledger->stopping && !ledger->kicked && error == 0) {
        error = pthread_cond_timedwait(&ledger->changed, &ledger->mutex, &until);
    }
    ledger->kicked = false;
    bool stopping = ledger->stopping;
    *jobs = take_all(ledger);
    pthread_mutex_unlock(&ledger->mutex);
    return !stopping;
}

/* What waits is written, or given up if the file can't be used even now. */
static void settle(struct ps_ledger *ledger, struct job *jobs)
{
    if (ledger->file == NULL) {
        ledger->retry_at = 0;
    }
    work(ledger, jobs);
    pthread_mutex_lock(&ledger->mutex);
    jobs = take_all(ledger);
    pthread_mutex_unlock(&ledger->mutex);
    answer_reads(ledger, jobs, PS_ECANCELED);
    ps_ledger_file_close(ledger->file);
    ledger->file = NULL;
}

static void free_all(struct ps_ledger *ledger)
{
    pthread_cond_destroy(&ledger->changed);
    pthread_mutex_destroy(&ledger->mutex);
    free(ledger->path);
    free(ledger);
}

static void *run(void *arg)
{
    struct ps_ledger *ledger = arg;
    struct job *jobs = NULL;
    while (wait_for_work(ledger, &jobs)) {
        work(ledger, jobs);
    }
    settle(ledger, jobs);
    pthread_mutex_lock(&ledger->mutex);
    ledger->ended = true;
    bool abandoned = ledger->abandoned;
    pthread_cond_broadcast(&ledger->changed);
    pthread_mutex_unlock(&ledger->mutex);
    if (abandoned) {
        free_all(ledger);
    }
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */

static void set_opts(struct ps_ledger *ledger, const struct ps_ledger_opts *opts)
{
    ledger->opts = *opts;
    ledger->opts.queue_entries = opts->queue_entries > 0 ? opts->queue_entries : QUEUE_ENTRIES;
    ledger->opts.queue_bytes = opts->queue_bytes > 0 ? opts->queue_bytes : QUEUE_BYTES;
    ledger->opts.retry = opts->retry > 0 ? opts->retry : PS_SECOND;
    ledger->retry = ledger->opts.retry;
}

int ps_ledger_new(struct ps_ledger **out, const struct ps_ledger_opts *opts, struct ps_loop *loop)
{
    struct ps_ledger *ledger = calloc(1, sizeof *ledger);
    if (ledger == NULL) {
        return PS_ENOMEM;
    }
    set_opts(ledger, opts);
    ps_list_init(&ledger->waiting);
    ledger->last = &ledger->first;
    ps_condition_init(&ledger->changed);
    pthread_mutex_init(&ledger->mutex, NULL);
    ledger->path = ps_str_dup(ps_str_from(opts->path));
    int err = ledger->path == NULL ? PS_ENOMEM : ps_mailbox_new(&ledger->mailbox, loop, ledger);
    err = err != PS_OK ? err : ps_spawn(&ledger->thread, run, ledger);
    if (err != PS_OK) {
        ps_mailbox_free(ledger->mailbox);
        free_all(ledger);
        return err;
    }
    *out = ledger;
    return PS_OK;
}

/* With the mutex held. */
static bool wait_for_end(struct ps_ledger *ledger, ps_span patience)
{
    struct timespec until = ps_condition_deadline(patience);
    int error = 0;
    while (!ledger->ended && error == 0) {
        error = pthread_cond_timedwait(&ledger->changed, &ledger->mutex, &until);
    }
    return ledger->ended;
}

/* The jobs themselves are with the thread. */
static void cancel_all(struct ps_ledger *ledger)
{
    while (!ps_list_is_empty(&ledger->waiting)) {
        struct job *job = PS_LIST_FIRST(&ledger->waiting, struct job, link);
        ps_ledger_fn *on_end = job->on_end;
        ps_list_remove(&job->link);
        job->on_end = NULL;
        if (on_end != NULL) {
            on_end(job->ctx, PS_ECANCELED, NULL);
        }
    }
}

void ps_ledger_free(struct ps_ledger *ledger, ps_span patience)
{
    if (ledger == NULL) {
        return;
    }
    pthread_mutex_lock(&ledger->mutex);
    ledger->stopping = true;
    pthread_cond_broadcast(&ledger->changed);
    bool ended = wait_for_end(ledger, patience);
    pthread_mutex_unlock(&ledger->mutex);
    if (!ended) {
        cancel_all(ledger);
    }
    pthread_mutex_lock(&ledger->mutex);
    ended = ledger->ended;
    ledger->abandoned = !ended;
    pthread_t thread = ledger->thread;
    struct ps_mailbox *mailbox = ledger->mailbox;
    pthread_mutex_unlock(&ledger->mutex);
    ps_mailbox_free(mailbox);
    if (ended) {
        pthread_join(thread, NULL);
        free_all(ledger);
    } else {
        pthread_detach(thread);
    }
}

void ps_ledger_keep(struct ps_ledger *ledger, ps_span age, uint64_t rows)
{
    pthread_mutex_lock(&ledger->mutex);
    bool same = ledger->keep_age == age && ledger->keep_rows == rows;
    ledger->keep_age = age;
    ledger->keep_rows = rows;
    ledger->prune = ledger->prune || !same;
    ledger->kicked = ledger->kicked || !same;
    pthread_cond_signal(&ledger->changed);
    pthread_mutex_unlock(&ledger->mutex);
}

/* --- use -------------------------------------------------------------------------------------- */

static size_t bytes_of(const struct ps_ledger_statement *statements, size_t count)
{
    size_t bytes = sizeof(struct job) + count * sizeof *statements;
    for (size_t i = 0; i < count; i++) {
        bytes += statements[i].count * sizeof *statements[i].values;
        for (size_t k = 0; k < statements[i].count; k++) {
            const struct ps_ledger_value *value = &statements[i].values[k];
            bytes += value->type == PS_LEDGER_TEXT ? value->text.len : 0;
        }
    }
    return bytes;
}

static void copy_statement(const struct ps_ledger_statement *from, struct ps_ledger_statement *to,
                           struct ps_ledger_value *values, char **text)
{
    *to = (struct ps_ledger_statement){from->sql, values, from->count};
    for (size_t i = 0; i < from->count; i++) {
        values[i] = from->values[i];
        if (values[i].type == PS_LEDGER_TEXT) {
            if (values[i].text.len > 0) {
                memcpy(*text, from->values[i].text.ptr, values[i].text.len);
            }
            values[i].text.ptr = *text;
            *text += values[i].text.len;
        }
    }
}

/* Head, statements, all values, then all texts. */
static struct job *make_job(const struct ps_ledger_statement *statements, size_t count,
                            size_t bytes)
{
    struct job *job = malloc(bytes);
    if (job == NULL) {
        return NULL;
    }
    memset(job, 0, sizeof *job);
    job->letter.on_delivery = on_job_back;
    job->bytes = bytes;
    job->count = count;
    ps_list_init(&job->link);
    struct ps_ledger_value *values = (void *)(job->statements + count);
    size_t all = 0;
    for (size_t i = 0; i < count; i++) {
        all += statements[i].count;
    }
    char *text = (char *)(values + all);
    for (size_t i = 0; i < count; i++) {
        PS_CHECK(statements[i].count <= PS_LEDGER_VALUES);
        copy_statement(&statements[i], &job->statements[i], values, &text);
        values += statements[i].count;
    }
    return job;
}

/* Questions have places of their own: while nothing can be written they are still answered. */
static bool take_place(struct ps_ledger *ledger, const struct job *job)
{
    bool room = ledger->questions < QUESTIONS;
    if (job->is_read) {
        ledger->questions += room ? 1 : 0;
        return room;
    }
    room = ledger->stats.waiting < ledger->opts.queue_entries &&
           job->bytes <= ledger->opts.queue_bytes - ledger->bytes;
    ledger->stats.waiting += room ? 1 : 0;
    ledger->bytes += room ? job->bytes : 0;
    return room;
}

static bool enqueue(struct ps_ledger *ledger, struct job *job)
{
    pthread_mutex_lock(&ledger->mutex);
    bool room = take_place(ledger, job);
    if (room) {
        *ledger->last = job;
        ledger->last = &job->next;
        ledger->kicked = true;
        pthread_cond_signal(&ledger->changed);
    }
    pthread_mutex_unlock(&ledger->mutex);
    return room;
}

/* Who asked a question hears of it; an entry may have nobody who does. */
static void count_drop(struct ps_ledger *ledger, bool is_read)
{
    if (is_read) {
        return;
    }
    pthread_mutex_lock(&ledger->mutex);
    ledger->stats.dropped++;
    if (!ledger->losing) {
        ledger->losing = true;
        tell(ledger, true);
    }
    pthread_mutex_unlock(&ledger->mutex);
}

/* Reads differ by `most` > 0. */
static int submit(struct ps_ledger *ledger, const struct ps_ledger_statement *statements,
                  size_t count, size_t most, ps_ledger_fn *on_end, void *ctx)
{
    size_t bytes = bytes_of(statements, count);
    struct job *job = bytes > PS_LEDGER_ENTRY_MAX ? NULL : make_job(statements, count, bytes);
    if (job == NULL) {
        count_drop(ledger, most > 0);
        return bytes > PS_LEDGER_ENTRY_MAX ? PS_ELIMIT : PS_ENOMEM;
    }
    job->is_read = most > 0;
    job->most = most;
    job->replies = on_end != NULL;
    job->on_end = on_end;
    job->ctx = ctx;
    if (job->replies) {
        ps_list_push(&ledger->waiting, &job->link);
    }
    if (!enqueue(ledger, job)) {
        ps_list_remove(&job->link);
        free_job(job);
        count_drop(ledger, most > 0);
        return PS_ELIMIT;
    }
    return PS_OK;
}

int ps_ledger_write(struct ps_ledger *ledger, const struct ps_ledger_statement *statements,
                    size_t count, ps_ledger_fn *on_end, void *ctx)
{
    return ledger == NULL ? PS_OK : submit(ledger, statements, count, 0, on_end, ctx);
}

int ps_ledger_read(struct ps_ledger *ledger, const struct ps_ledger_statement *statement,
                   size_t most, ps_ledger_fn *on_end, void *ctx)
{
    PS_CHECK(most > 0);
    return ledger == NULL ? PS_ECLOSED : submit(ledger, statement, 1, most, on_end, ctx);
}

void ps_ledger_forget(struct ps_ledger *ledger, const void *ctx)
{
    if (ledger == NULL) {
        return;
    }
    PS_LIST_FOREACH (node, &ledger->waiting) {
        struct job *job = PS_CONTAINER_OF(node, struct job, link);
        if (job->ctx == ctx) {
            job->on_end = NULL;
        }
    }
}

void ps_ledger_stats(struct ps_ledger *ledger, struct ps_ledger_stats *out)
{
    pthread_mutex_lock(&ledger->mutex);
    *out = ledger->stats;
    pthread_mutex_unlock(&ledger->mutex);
}
