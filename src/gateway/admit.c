#include "gateway/admit.h"

#include <pthread.h>
#include <stdlib.h>

const char *const ps_priority_names[] = {"high", "normal", "low", NULL};

/* clang-format off */
const struct ps_option ps_admit_options[] = {
    {"max_in_flight", PS_OPTION_U64, offsetof(struct ps_admit_opts, max_in_flight), "0",
     "requests inside the upstream at a time; 0 = no bound", .max = 1e9},
    {"max_in_flight_tokens", PS_OPTION_U64, offsetof(struct ps_admit_opts, max_in_flight_tokens), "0",
     "tokens (prompt and max_tokens, estimated) inside the upstream at a time; 0 = no bound", .max = 1e15},
    {"max_queue", PS_OPTION_U64, offsetof(struct ps_admit_opts, max_queue), "1024",
     "requests that may wait for a slot; more are answered 429", .max = 1e7},
    {"max_queue_bytes", PS_OPTION_BYTES, offsetof(struct ps_admit_opts, max_queue_bytes), "64MiB",
     "bytes of their bodies that may wait", .min = 0},
    {"max_wait", PS_OPTION_SPAN, offsetof(struct ps_admit_opts, max_wait), "30s",
     "how long a request may wait before it is answered 429", .min = 0},
    {0},
};
/* clang-format on */

enum ticket_state {
    TICKET_OUT,
    TICKET_WAITING,
    TICKET_HANDED,    /* has the slot; perhaps not notified yet */
    TICKET_INSIDE,    /* has the slot, never waited */
    TICKET_ABANDONED, /* was cancelled between hand-over and notification */
};

#define RETRY_MIN PS_SECOND
#define RETRY_MAX (60 * PS_SECOND)

struct ps_gate {
    pthread_mutex_t mutex; /* guards everything below */
    struct ps_admit_opts opts;
    uint64_t throttle;        /* requests, beside opts; 0 = none */
    uint64_t throttle_tokens; /* likewise */
    struct ps_list waiting[PS_PRIORITY_COUNT];
    struct ps_gate_stats stats;
    bool closed;
    ps_time left_at;  /* the last time a slot was given back; 0 = never */
    ps_span interval; /* smoothed time between two of them */
};

int ps_gate_new(struct ps_gate **out, const struct ps_admit_opts *opts)
{
    struct ps_gate *gate = calloc(1, sizeof *gate);
    if (gate == NULL) {
        return PS_ENOMEM;
    }
    if (pthread_mutex_init(&gate->mutex, NULL) != 0) {
        free(gate);
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < PS_PRIORITY_COUNT; i++) {
        ps_list_init(&gate->waiting[i]);
    }
    gate->opts = *opts;
    *out = gate;
    return PS_OK;
}

void ps_gate_free(struct ps_gate *gate)
{
    if (gate == NULL) {
        return;
    }
    PS_CHECK(gate->stats.in_flight == 0);
    pthread_mutex_destroy(&gate->mutex);
    free(gate);
}

static uint64_t queue_len(const struct ps_gate *gate)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < PS_PRIORITY_COUNT; i++) {
        sum += gate->stats.queued[i];
    }
    return sum;
}

/* The tighter of two bounds, of which 0 is none. */
static uint64_t tighter(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static bool fits(const struct ps_gate *gate, const struct ps_ticket *ticket)
{
    const struct ps_gate_stats *stats = &gate->stats;
    uint64_t most = tighter(gate->opts.max_in_flight, gate->throttle);
    uint64_t tokens = tighter(gate->opts.max_in_flight_tokens, gate->throttle_tokens);
    if (most != 0 && stats->in_flight >= most) {
        return false;
    }
    if (tokens == 0 || stats->in_flight == 0) {
        return true;
    }
    return stats->in_flight_tokens < tokens && ticket->tokens <= tokens - stats->in_flight_tokens;
}

/* Does somebody wait whose turn is before that of a newcomer of this class? */
static bool has_precedence(const struct ps_gate *gate, enum ps_priority priority)
{
    for (int i = 0; i <= (int)priority; i++) {
        if (gate->stats.queued[i] > 0) {
            return true;
        }
    }
    return false;
}

static void take_slot(struct ps_gate *gate, const struct ps_ticket *ticket)
{
    gate->stats.in_flight++;
    gate->stats.in_flight_tokens += ticket->tokens;
    gate->stats.admitted_total++;
}

static void give_slot(struct ps_gate *gate, const struct ps_ticket *ticket)
{
    PS_CHECK(gate->stats.in_flight > 0 && gate->stats.in_flight_tokens >= ticket->tokens);
    gate->stats.in_flight--;
    gate->stats.in_flight_tokens -= ticket->tokens;
}

static void queue_push(struct ps_gate *gate, struct ps_ticket *ticket, ps_time now)
{
    ticket->state = TICKET_WAITING;
    ticket->entered = now;
    ps_list_push(&gate->waiting[ticket->priority], &ticket->node);
    gate->stats.queued[ticket->priority]++;
    gate->stats.queued_bytes += ticket->bytes;
    gate->stats.queued_tokens += ticket->tokens;
    gate->stats.queued_prompts += ticket->prompt;
}

static void queue_remove(struct ps_gate *gate, struct ps_ticket *ticket)
{
    ps_list_remove(&ticket->node);
    gate->stats.queued[ticket->priority]--;
    gate->stats.queued_bytes -= ticket->bytes;
    gate->stats.queued_tokens -= ticket->tokens;
    gate->stats.queued_prompts -= ticket->prompt;
}

/* The waiter whose turn it is, or NULL. Nobody overtakes it, so that a large one is not starved. */
static struct ps_ticket *queue_first(const struct ps_gate *gate)
{
    for (size_t i = 0; i < PS_PRIORITY_COUNT; i++) {
        if (!ps_list_is_empty(&gate->waiting[i])) {
            return PS_LIST_FIRST(&gate->waiting[i], struct ps_ticket, node);
        }
    }
    return NULL;
}

/* Hands free slots to waiters and collects these in `handed`. Their memory stays until they are
 * notified, so the list may be walked without the mutex. */
static void hand_over(struct ps_gate *gate, ps_time now, struct ps_list *handed)
{
    ps_list_init(handed);
    struct ps_ticket *ticket = queue_first(gate);
    while (ticket != NULL && fits(gate, ticket)) {
        queue_remove(gate, ticket);
        take_slot(gate, ticket);
        ticket->state = TICKET_HANDED;
        gate->stats.waited_total++;
        gate->stats.waited_sum += now > ticket->entered ? now - ticket->entered : 0;
        ps_list_push(handed, &ticket->node);
        ticket = queue_first(gate);
    }
}

/* After the mutex. A ticket must not be touched once it was notified. */
static void notify_all(struct ps_list *handed)
{
    while (!ps_list_is_empty(handed)) {
        struct ps_ticket *ticket = PS_LIST_FIRST(handed, struct ps_ticket, node);
        ps_list_remove(&ticket->node);
        ticket->notify(ticket);
    }
}

void ps_gate_configure(struct ps_gate *gate, const struct ps_admit_opts *opts, ps_time now)
{
    struct ps_list handed;
    pthread_mutex_lock(&gate->mutex);
    gate->opts = *opts;
    hand_over(gate, now, &handed);
    pthread_mutex_unlock(&gate->mutex);
    notify_all(&handed);
}

void ps_gate_throttle(struct ps_gate *gate, uint64_t in_flight, uint64_t tokens, ps_time now)
{
    struct ps_list handed;
    pthread_mutex_lock(&gate->mutex);
    gate->throttle = in_flight;
    gate->throttle_tokens = tokens;
    hand_over(gate, now, &handed);
    pthread_mutex_unlock(&gate->mutex);
    notify_all(&handed);
}

void ps_gate_close(struct ps_gate *gate, bool closed)
{
    pthread_mutex_lock(&gate->mutex);
    gate->closed = closed;
    pthread_mutex_unlock(&gate->mutex);
}

static bool has_room(const struct ps_gate *gate, const struct ps_ticket *ticket)
{
    return queue_len(gate) < gate->opts.max_queue &&
           gate->stats.queued_bytes <= gate->opts.max_queue_bytes &&
           ticket->bytes <= gate->opts.max_queue_bytes - gate->stats.queued_bytes;
}

static enum ps_admission enter(struct ps_gate *gate, struct ps_ticket *ticket, ps_time now)
{
    if (gate->closed) {
        gate->stats.refused_total++;
        return PS_REFUSED_CLOSED;
    }
    if (!has_precedence(gate, ticket->priority) && fits(gate, ticket)) {
        take_slot(gate, ticket);
        ticket->state = TICKET_INSIDE;
        return PS_ADMITTED;
    }
    if (!has_room(gate, ticket)) {
        gate->stats.refused_total++;
        return PS_REFUSED_FULL;
    }
    queue_push(gate, ticket, now);
    return PS_QUEUED;
}

enum ps_admission ps_gate_enter(struct ps_gate *gate, struct ps_ticket *ticket, ps_time now)
{
    PS_CHECK((unsigned)ticket->priority < PS_PRIORITY_COUNT);
    PS_CHECK(ticket->state == TICKET_OUT);
    pthread_mutex_lock(&gate->mutex);
    enum ps_admission result = enter(gate, ticket, now);
    pthread_mutex_unlock(&gate->mutex);
    return result;
}

/* A slot became free: the smoothed interval is what Retry-After is computed from. */
static void note_drain(struct ps_gate *gate, ps_time now)
{
    if (gate->left_at != 0 && now >= gate->left_at) {
        ps_span gap = now - gate->left_at;
        gate->interval += (gap - gate->interval) / 8;
    }
    gate->left_at = now;
}

void ps_gate_leave(struct ps_gate *gate, struct ps_ticket *ticket, ps_time now)
{
    struct ps_list handed;
    pthread_mutex_lock(&gate->mutex);
    PS_CHECK(ticket->state == TICKET_INSIDE || ticket->state == TICKET_HANDED);
    give_slot(gate, ticket);
    ticket->state = TICKET_OUT;
    note_drain(gate, now);
    hand_over(gate, now, &handed);
    pthread_mutex_unlock(&gate->mutex);
    notify_all(&handed);
}

bool ps_gate_cancel(struct ps_gate *gate, struct ps_ticket *ticket, ps_time now)
{
    struct ps_list handed;
    pthread_mutex_lock(&gate->mutex);
    PS_CHECK(ticket->state == TICKET_WAITING || ticket->state == TICKET_HANDED);
    bool waiting = ticket->state == TICKET_WAITING;
    if (waiting) {
        queue_remove(gate, ticket);
        ticket->state = TICKET_OUT;
    } else {
        give_slot(gate, ticket);
        ticket->state = TICKET_ABANDONED;
    }
    gate->stats.canceled_total++;
    /* A large one at the head may have been all that kept the others out. */
    hand_over(gate, now, &handed);
    pthread_mutex_unlock(&gate->mutex);
    notify_all(&handed);
    return waiting;
}

ps_span ps_gate_retry_after(struct ps_gate *gate, ps_time now)
{
    pthread_mutex_lock(&gate->mutex);
    double ahead = (double)queue_len(gate) + 1;
    ps_span interval = gate->interval;
    ps_span silent = gate->left_at != 0 && now > gate->left_at ? now - gate->left_at : 0;
    pthread_mutex_unlock(&gate->mutex);
    /* Nothing left for longer than usual: it is slower now than it was. */
    double each = (double)(silent > interval ? silent : interval);
    double wait = ahead * each;
    if (wait < (double)RETRY_MIN) {
        return RETRY_MIN;
    }
    return wait > (double)RETRY_MAX ? RETRY_MAX : (ps_span)wait;
}

void ps_gate_read(struct ps_gate *gate, struct ps_gate_stats *out)
{
    pthread_mutex_lock(&gate->mutex);
    *out = gate->stats;
    out->max_in_flight = gate->opts.max_in_flight;
    pthread_mutex_unlock(&gate->mutex);
}

static bool lists_agree(const struct ps_gate *gate)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < PS_PRIORITY_COUNT; i++) {
        uint64_t count = 0;
        PS_LIST_FOREACH (node, &gate->waiting[i]) {
            const struct ps_ticket *ticket = PS_CONTAINER_OF(node, struct ps_ticket, node);
            count++;
            bytes += ticket->bytes;
            if (ticket->state != TICKET_WAITING || ticket->priority != i) {
                return false;
            }
        }
        if (count != gate->stats.queued[i]) {
            return false;
        }
    }
    return bytes == gate->stats.queued_bytes;
}

bool ps_gate_is_sane(struct ps_gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    const struct ps_ticket *first = queue_first(gate);
    bool sane = lists_agree(gate) && (first == NULL || !fits(gate, first));
    sane = sane && (gate->stats.in_flight > 0 || gate->stats.in_flight_tokens == 0);
    pthread_mutex_unlock(&gate->mutex);
    return sane;
}
