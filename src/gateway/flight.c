#include "gateway/flight.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "io/loop.h"
#include "io/mailbox.h"

enum {
    LOCKS = 64,
    BUCKETS = 4096, /* a multiple of LOCKS */
    FIRST_SEGMENT = 4 * 1024,
    SEGMENT = 32 * 1024,
    /* When not all is kept: */
    WINDOW = 256 * 1024,    /* the foremost seat may be so many bytes behind the pilot */
    LAG = 32 * 1024 * 1024, /* and the others behind that one, while there is memory */
    SHORT_LAG = 2 * WINDOW  /* ... when there is none */
};

/* A piece of the recording, filled to its end before the next one begins. Each reference keeps all
 * that follow: those of `first` and `last`, of the segment before, and of the seats that are at it.
 */
struct ps_flight_segment {
    _Atomic uint32_t refs;
    _Atomic(struct ps_flight_segment *) next;
    struct ps_flight *flight;
    uint64_t start; /* position of its first byte */
    size_t size;
    bool counted; /* against the budget */
    char bytes[];
};

/* The seats of one desk. Lives as long as the flight. */
struct ps_flight_station {
    struct ps_flight_station *next;
    struct ps_flight *flight;
    struct ps_flight_desk *desk;
    struct ps_list seats; /* the desk's thread alone */
    _Atomic size_t count;
    struct ps_letter letter; /* from other threads */
    _Atomic bool posted;
    struct ps_task task; /* from its own */
    bool deferred;
};

struct hidden {
    uint64_t from, to;
};

struct ps_flight {
    struct ps_list link; /* in its bucket, under the lock */
    struct ps_flights *flights;
    struct ps_key key;
    struct ps_entry *probe; /* what the flight is about */
    _Atomic uint32_t refs;
    bool open;        /* in its bucket; under the lock */
    size_t seats;     /* under the lock */
    bool kept_flying; /* though nobody waits */
    struct ps_budget *budget;

    /* the pilot's thread, but for what is atomic */
    struct ps_flight_desk *desk;
    struct ps_flight_pilot pilot;
    bool flying;
    struct ps_letter letter;
    _Atomic bool posted;
    struct ps_task task;
    bool deferred;
    _Atomic bool deserted;
    _Atomic bool wants_room;
    _Atomic bool outdated;
    _Atomic uint64_t foremost; /* position of the foremost seat, once not all is kept */
    _Atomic uint64_t given_up; /* seats before this position have to get up */

    /* the recording */
    struct ps_flight_segment *first; /* NULL when the beginning is not kept; under the lock */
    struct ps_flight_segment *last;
    _Atomic bool whole;
    _Atomic size_t held; /* bytes of segments */
    uint64_t recorded;   /* of these are told: */
    _Atomic uint64_t published;
    struct hidden hidden[PS_FLIGHT_HIDDEN_MAX];
    _Atomic size_t hidden_count;

    /* written before `state` says so, constant then */
    _Atomic int state; /* enum ps_flight_state */
    struct ps_flight_head head;
    char *lines;
    struct ps_entry *entry;
    bool cached;
    struct ps_flight_refusal refusal;
    struct ps_flight_facts facts;

    _Atomic(struct ps_flight_station *) stations;
};

struct ps_flights {
    pthread_mutex_t locks[LOCKS];
    struct ps_list buckets[BUCKETS];
    _Atomic size_t count;
    size_t keep;
};

/* --- the registry ----------------------------------------------------------------------------- */

int ps_flights_new(struct ps_flights **out, size_t keep)
{
    struct ps_flights *flights = malloc(sizeof *flights);
    if (flights == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < LOCKS; i++) {
        pthread_mutex_init(&flights->locks[i], NULL);
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        ps_list_init(&flights->buckets[i]);
    }
    atomic_init(&flights->count, 0);
    flights->keep = keep;
    *out = flights;
    return PS_OK;
}

void ps_flights_free(struct ps_flights *flights)
{
    if (flights == NULL) {
        return;
    }
    for (size_t i = 0; i < LOCKS; i++) {
        pthread_mutex_destroy(&flights->locks[i]);
    }
    free(flights);
}

size_t ps_flights_count(struct ps_flights *flights)
{
    return atomic_load(&flights->count);
}

static size_t bucket_of(const struct ps_key *key)
{
    return ((size_t)key->bytes[0] << 8 | key->bytes[1]) % BUCKETS;
}

static pthread_mutex_t *lock_of(struct ps_flights *flights, const struct ps_key *key)
{
    return &flights->locks[bucket_of(key) % LOCKS];
}

/* Under the lock. */
static void close_flight(struct ps_flight *flight)
{
    if (flight->open) {
        flight->open = false;
        ps_list_remove(&flight->link);
        atomic_fetch_sub(&flight->flights->count, 1);
    }
}

/* --- segments --------------------------------------------------------------------------------- */

static struct ps_flight_segment *segment_new(struct ps_flight *flight, uint64_t start, size_t size)
{
    struct ps_flight_segment *segment = malloc(sizeof *segment + size);
    if (segment != NULL) {
        *segment = (struct ps_flight_segment){.flight = flight, .start = start, .size = size};
        segment->counted = ps_budget_take(flight->budget, size) == PS_OK;
        atomic_store(&segment->refs, 2);
        atomic_fetch_add(&flight->held, size);
    }
    return segment;
}

static void pilot_notify(struct ps_flight *flight, const struct ps_flight_desk *from);

static void segment_unref(struct ps_flight_segment *segment, const struct ps_flight_desk *from)
{
    while (segment != NULL && atomic_fetch_sub(&segment->refs, 1) == 1) {
        struct ps_flight *flight = segment->flight;
        struct ps_flight_segment *next = atomic_load(&segment->next);
        if (segment->counted) {
            ps_budget_give(flight->budget, segment->size);
        }
        size_t held = atomic_fetch_sub(&flight->held, segment->size) - segment->size;
        free(segment);
        if (from != NULL && held <= WINDOW / 2 && atomic_exchange(&flight->wants_room, false)) {
            pilot_notify(flight, from);
        }
        segment = next;
    }
}

/* Gives up the beginning, for good. */
static void drop_beginning(struct ps_flight *flight)
{
    pthread_mutex_t *lock = lock_of(flight->flights, &flight->key);
    pthread_mutex_lock(lock);
    close_flight(flight);
    struct ps_flight_segment *first = flight->first;
    flight->first = NULL;
    atomic_store(&flight->whole, false);
    pthread_mutex_unlock(lock);
    segment_unref(first, NULL);
}

static int grow(struct ps_flight *flight)
{
    struct ps_flight_segment *last = flight->last;
    struct ps_flight_segment *next = segment_new(flight, last->start + last->size, SEGMENT);
    if (next == NULL) {
        return PS_ENOMEM;
    }
    atomic_store_explicit(&last->next, next, memory_order_release);
    flight->last = next;
    if (!next->counted && flight->first != NULL) {
        drop_beginning(flight);
    }
    segment_unref(last, NULL);
    return PS_OK;
}

/* --- life ------------------------------------------------------------------------------------- */

static void flight_unref(struct ps_flight *flight)
{
    if (atomic_fetch_sub(&flight->refs, 1) != 1) {
        return;
    }
    segment_unref(flight->first, NULL);
    segment_unref(flight->last, NULL);
    struct ps_flight_station *station = atomic_load(&flight->stations);
    while (station != NULL) {
        struct ps_flight_station *next = station->next;
        free(station);
        station = next;
    }
    ps_entry_unref(flight->probe);
    ps_entry_unref(flight->entry);
    free(flight->lines);
    free(flight);
}

static void run_station(struct ps_flight_station *station)
{
    struct ps_list waiting;
    ps_list_init(&waiting);
    if (!ps_list_is_empty(&station->seats)) { /* all seats move over */
        waiting = station->seats;
        waiting.next->prev = &waiting;
        waiting.prev->next = &waiting;
        ps_list_init(&station->seats);
    }
    while (!ps_list_is_empty(&waiting)) {
        struct ps_flight_seat *seat = PS_LIST_FIRST(&waiting, struct ps_flight_seat, link);
        ps_list_remove(&seat->link);
        ps_list_push(&station->seats, &seat->link);
        seat->on_news(seat);
    }
    flight_unref(station->flight);
}

static void on_station_letter(struct ps_letter *letter, void *receiver)
{
    (void)receiver;
    struct ps_flight_station *station = PS_CONTAINER_OF(letter, struct ps_flight_station, letter);
    atomic_store(&station->posted, false);
    run_station(station);
}

static void on_station_task(struct ps_task *task)
{
    struct ps_flight_station *station = PS_CONTAINER_OF(task, struct ps_flight_station, task);
    station->deferred = false;
    run_station(station);
}

/* From the desk's own thread. */
static void station_defer(struct ps_flight_station *station)
{
    if (!station->deferred) {
        station->deferred = true;
        atomic_fetch_add(&station->flight->refs, 1);
        ps_loop_defer(station->desk->loop, &station->task);
    }
}

static void station_post(struct ps_flight_station *station)
{
    if (!atomic_exchange(&station->posted, true)) {
        atomic_fetch_add(&station->flight->refs, 1);
        ps_mailbox_post(station->desk->mailbox, &station->letter);
    }
}

static void pilot_hear(struct ps_flight *flight)
{
    if (flight->flying && atomic_load(&flight->deserted)) {
        flight->pilot.on_deserted(flight->pilot.ctx);
    } else if (flight->flying && !atomic_load(&flight->wants_room)) {
        flight->pilot.on_room(flight->pilot.ctx);
    }
    flight_unref(flight);
}

static void on_pilot_letter(struct ps_letter *letter, void *receiver)
{
    (void)receiver;
    struct ps_flight *flight = PS_CONTAINER_OF(letter, struct ps_flight, letter);
    atomic_store(&flight->posted, false);
    pilot_hear(flight);
}

static void on_pilot_task(struct ps_task *task)
{
    struct ps_flight *flight = PS_CONTAINER_OF(task, struct ps_flight, task);
    flight->deferred = false;
    pilot_hear(flight);
}

/* Whoever calls has a reference, or a seat. */
static void pilot_notify(struct ps_flight *flight, const struct ps_flight_desk *from)
{
    if (from != flight->desk) {
        if (!atomic_exchange(&flight->posted, true)) {
            atomic_fetch_add(&flight->refs, 1);
            ps_mailbox_post(flight->desk->mailbox, &flight->letter);
        }
    } else if (!flight->deferred) {
        flight->deferred = true;
        atomic_fetch_add(&flight->refs, 1);
        ps_loop_defer(flight->desk->loop, &flight->task);
    }
}

static struct ps_flight *flight_new(struct ps_flights *flights, const struct ps_flight_spec *spec,
                                    struct ps_flight_desk *desk)
{
    struct ps_entry_spec probe = {.status = 200,
                                  .route = spec->route,
                                  .model = spec->model,
                                  .tenant = spec->tenant,
                                  .tags = spec->tags,
                                  .tags_count = spec->tags_count,
                                  .born = spec->born};
    struct ps_flight *flight = calloc(1, sizeof *flight);
    if (flight == NULL) {
        return NULL;
    }
    flight->flights = flights;
    flight->key = *spec->key;
    flight->budget = spec->budget;
    flight->desk = desk;
    flight->letter.on_delivery = on_pilot_letter;
    flight->task.on_turn = on_pilot_task;
    atomic_store(&flight->refs, 1);
    atomic_store(&flight->whole, true);
    ps_list_init(&flight->link);
    flight->first = segment_new(flight, 0, FIRST_SEGMENT);
    flight->last = flight->first;
    if (flight->first == NULL || ps_entry_new(&flight->probe, &probe) != PS_OK) {
        flight_unref(flight);
        return NULL;
    }
    return flight;
}

/* --- joining ---------------------------------------------------------------------------------- */

/* Under the lock. */
static struct ps_flight *find(struct ps_flights *flights, const struct ps_flight_spec *spec)
{
    PS_LIST_FOREACH (node, &flights->buckets[bucket_of(spec->key)]) {
        struct ps_flight *flight = PS_CONTAINER_OF(node, struct ps_flight, link);
        if (!ps_key_eq(&flight->key, spec->key)) {
            continue;
        }
        if (spec->is_purged != NULL && spec->is_purged(spec->ctx, flight->probe, spec->key)) {
            close_flight(flight);
            return NULL;
        }
        return flight;
    }
    return NULL;
}

/* Under the lock. */
static struct ps_flight_station *station_get(struct ps_flight *flight, struct ps_flight_desk *desk)
{
    struct ps_flight_station *station = atomic_load(&flight->stations);
    while (station != NULL && station->desk != desk) {
        station = station->next;
    }
    if (station == NULL) {
        station = calloc(1, sizeof *station);
        if (station == NULL) {
            return NULL;
        }
        station->flight = flight;
        station->desk = desk;
        station->letter.on_delivery = on_station_letter;
        station->task.on_turn = on_station_task;
        ps_list_init(&station->seats);
        station->next = atomic_load(&flight->stations);
        atomic_store(&flight->stations, station);
    }
    return station;
}

/* Under the lock, by the desk's thread. */
static bool sit(struct ps_flight *flight, struct ps_flight_desk *desk, struct ps_flight_seat *seat)
{
    struct ps_flight_station *station = station_get(flight, desk);
    if (station == NULL) {
        return false;
    }
    seat->flight = flight;
    seat->station = station;
    seat->segment = flight->first;
    seat->position = 0;
    atomic_fetch_add(&seat->segment->refs, 1);
    atomic_fetch_add(&flight->refs, 1);
    atomic_fetch_add(&station->count, 1);
    ps_list_init(&seat->link);
    ps_list_push(&station->seats, &seat->link);
    flight->seats++;
    return true;
}

/* Under the lock. */
static enum ps_flight_role join(struct ps_flight *flight, struct ps_flight_desk *desk,
                                struct ps_flight_seat *seat, enum ps_flight_role role)
{
    if (seat == NULL) {
        flight->kept_flying = flight->kept_flying || role == PS_FLIGHT_LEADS;
        return role;
    }
    return sit(flight, desk, seat) ? role : PS_FLIGHT_FAILED;
}

enum ps_flight_role ps_flights_join(struct ps_flights *flights, const struct ps_flight_spec *spec,
                                    struct ps_flight_desk *desk, struct ps_flight_seat *seat,
                                    struct ps_flight **out)
{
    pthread_mutex_t *lock = lock_of(flights, spec->key);
    struct ps_flight *made = NULL;
    enum ps_flight_role role = PS_FLIGHT_JOINED;
    pthread_mutex_lock(lock);
    struct ps_flight *flight = find(flights, spec);
    if (flight == NULL) { /* nothing is made while others wait for the lock */
        pthread_mutex_unlock(lock);
        made = flight_new(flights, spec, desk);
        if (made == NULL) {
            return PS_FLIGHT_FAILED;
        }
        pthread_mutex_lock(lock);
        flight = find(flights, spec);
    }
    if (flight == NULL) {
        flight = made;
        role = PS_FLIGHT_LEADS;
    }
    role = join(flight, desk, seat, role);
    if (role == PS_FLIGHT_LEADS) {
        flight->open = true;
        ps_list_push(&flights->buckets[bucket_of(spec->key)], &flight->link);
        atomic_fetch_add(&flights->count, 1);
        *out = flight;
        made = NULL;
    }
    pthread_mutex_unlock(lock);
    if (made != NULL) {
        flight_unref(made);
    }
    if (role == PS_FLIGHT_JOINED && seat != NULL) {
        station_defer(seat->station);
    }
    return role;
}

void ps_flights_outdate(struct ps_flights *flights, const struct ps_key *key)
{
    pthread_mutex_t *lock = lock_of(flights, key);
    struct ps_flight_spec spec = {.key = key};
    pthread_mutex_lock(lock);
    struct ps_flight *flight = find(flights, &spec);
    if (flight != NULL) {
        atomic_store(&flight->outdated, true);
        close_flight(flight);
    }
    pthread_mutex_unlock(lock);
}

void ps_flight_leave(struct ps_flight_seat *seat)
{
    struct ps_flight *flight = seat->flight;
    if (flight == NULL) {
        return;
    }
    struct ps_flight_desk *desk = seat->station->desk;
    pthread_mutex_t *lock = lock_of(flight->flights, &flight->key);
    ps_list_remove(&seat->link);
    atomic_fetch_sub(&seat->station->count, 1);
    segment_unref(seat->segment, desk);
    pthread_mutex_lock(lock);
    flight->seats--;
    bool deserted =
        flight->seats == 0 && !flight->kept_flying && atomic_load(&flight->state) <= PS_FLIGHT_OPEN;
    if (deserted) {
        close_flight(flight);
        atomic_store(&flight->deserted, true);
    }
    pthread_mutex_unlock(lock);
    if (deserted) {
        pilot_notify(flight, desk);
    }
    *seat = (struct ps_flight_seat){.on_news = seat->on_news};
    flight_unref(flight);
}

/* --- reading ---------------------------------------------------------------------------------- */

enum ps_flight_state ps_flight_state(const struct ps_flight *flight)
{
    return (enum ps_flight_state)atomic_load(&flight->state);
}

const struct ps_flight_head *ps_flight_head(const struct ps_flight *flight)
{
    return &flight->head;
}

/* To the segment that has the next byte, if there is one. */
static void advance(struct ps_flight_seat *seat)
{
    while (seat->position >= seat->segment->start + seat->segment->size) {
        struct ps_flight_segment *before = seat->segment;
        struct ps_flight_segment *next = atomic_load_explicit(&before->next, memory_order_acquire);
        if (next == NULL) {
            return;
        }
        atomic_fetch_add(&next->refs, 1);
        seat->segment = next;
        segment_unref(before, seat->station->desk);
    }
}

/* The position behind hidden bytes at `position`; *until is where the next ones begin, if that is
 * before what it was. */
static uint64_t skip_hidden(const struct ps_flight *flight, uint64_t position, uint64_t *until)
{
    size_t count = atomic_load_explicit(&flight->hidden_count, memory_order_acquire);
    for (size_t i = 0; i < count; i++) {
        const struct hidden *hidden = &flight->hidden[i];
        if (position >= hidden->from && position < hidden->to) {
            position = hidden->to;
        } else if (hidden->from > position && hidden->from < *until) {
            *until = hidden->from;
        }
    }
    return position;
}

struct ps_str ps_flight_peek(struct ps_flight_seat *seat, bool hide)
{
    const struct ps_flight *flight = seat->flight;
    uint64_t until = atomic_load(&flight->published);
    if (hide) {
        seat->position = skip_hidden(flight, seat->position, &until);
    }
    advance(seat);
    const struct ps_flight_segment *segment = seat->segment;
    uint64_t end = segment->start + segment->size;
    end = end < until ? end : until;
    if (end <= seat->position) {
        return PS_STR("");
    }
    return (struct ps_str){segment->bytes + (seat->position - segment->start),
                           end - seat->position};
}

/* The foremost seat is what the pilot waits for. */
static void follow(struct ps_flight *flight, uint64_t position, const struct ps_flight_desk *from)
{
    uint64_t before = atomic_load(&flight->foremost);
    while (before < position &&
           !atomic_compare_exchange_weak(&flight->foremost, &before, position)) {
    }
    if (atomic_load(&flight->wants_room) &&
        atomic_load(&flight->published) <= position + WINDOW / 2 &&
        atomic_exchange(&flight->wants_room, false)) {
        pilot_notify(flight, from);
    }
}

void ps_flight_read_on(struct ps_flight_seat *seat, size_t n)
{
    seat->position += n;
    advance(seat);
    if (!atomic_load(&seat->flight->whole)) {
        follow(seat->flight, seat->position, seat->station->desk);
    }
}

bool ps_flight_is_behind(const struct ps_flight_seat *seat)
{
    return seat->position < atomic_load_explicit(&seat->flight->given_up, memory_order_relaxed);
}

bool ps_flight_is_whole(const struct ps_flight *flight)
{
    return atomic_load(&flight->whole);
}

struct ps_entry *ps_flight_entry(const struct ps_flight *flight)
{
    return flight->entry;
}

bool ps_flight_is_cached(const struct ps_flight *flight)
{
    return flight->cached;
}

const struct ps_flight_refusal *ps_flight_refusal(const struct ps_flight *flight)
{
    return &flight->refusal;
}

const struct ps_flight_facts *ps_flight_facts(const struct ps_flight *flight)
{
    return &flight->facts;
}

/* --- the pilot -------------------------------------------------------------------------------- */

void ps_flight_take_off(struct ps_flight *flight, const struct ps_flight_pilot *pilot)
{
    flight->pilot = *pilot;
    flight->flying = true;
}

static void set_state(struct ps_flight *flight, enum ps_flight_state state)
{
    atomic_store(&flight->state, (int)state);
}

int ps_flight_begin(struct ps_flight *flight, const struct ps_flight_head *head)
{
    flight->lines = malloc(head->lines.len + 1);
    if (flight->lines == NULL) {
        return PS_ENOMEM;
    }
    if (head->lines.len > 0) {
        memcpy(flight->lines, head->lines.ptr, head->lines.len);
    }
    flight->head = *head;
    flight->head.lines.ptr = flight->lines;
    set_state(flight, PS_FLIGHT_OPEN);
    return PS_OK;
}

static int hide(struct ps_flight *flight, size_t len)
{
    size_t count = atomic_load_explicit(&flight->hidden_count, memory_order_relaxed);
    if (count == PS_FLIGHT_HIDDEN_MAX) {
        return PS_ELIMIT;
    }
    flight->hidden[count] = (struct hidden){flight->recorded, flight->recorded + len};
    atomic_store_explicit(&flight->hidden_count, count + 1, memory_order_release);
    return PS_OK;
}

int ps_flight_record(struct ps_flight *flight, struct ps_str bytes, bool hidden)
{
    int err = hidden && bytes.len > 0 ? hide(flight, bytes.len) : PS_OK;
    if (flight->first != NULL && flight->recorded + bytes.len > flight->flights->keep) {
        drop_beginning(flight);
    }
    while (err == PS_OK && bytes.len > 0) {
        struct ps_flight_segment *last = flight->last;
        size_t used = (size_t)(flight->recorded - last->start);
        if (used == last->size) {
            err = grow(flight);
            continue;
        }
        size_t n = bytes.len < last->size - used ? bytes.len : last->size - used;
        memcpy(last->bytes + used, bytes.ptr, n);
        flight->recorded += n;
        bytes = ps_str_skip(bytes, n);
    }
    return err;
}

void ps_flight_tell(struct ps_flight *flight)
{
    /* In one order with the stations and their counts: who sits down meanwhile either is seen here
     * or sees the bytes. */
    atomic_store(&flight->published, flight->recorded);
    struct ps_flight_station *station = atomic_load(&flight->stations);
    for (; station != NULL; station = station->next) {
        if (atomic_load(&station->count) == 0) {
            continue;
        }
        if (station->desk == flight->desk) {
            station_defer(station);
        } else {
            station_post(station);
        }
    }
}

static bool has_company(struct ps_flight *flight)
{
    pthread_mutex_t *lock = lock_of(flight->flights, &flight->key);
    pthread_mutex_lock(lock);
    bool has = flight->seats > 1;
    pthread_mutex_unlock(lock);
    return has;
}

/* Somebody reads as fast as it comes: for whom the others may lag behind only so far. True: that
 * was settled. */
static bool leave_behind(struct ps_flight *flight)
{
    size_t lag = flight->last->counted ? LAG : SHORT_LAG;
    size_t held = atomic_load(&flight->held);
    bool keeps_up = flight->recorded <= atomic_load(&flight->foremost) + WINDOW;
    if (!keeps_up || !has_company(flight)) {
        return false;
    }
    if (held > lag) {
        atomic_store(&flight->given_up, flight->recorded - (lag - WINDOW));
        ps_flight_tell(flight);
    }
    return true;
}

bool ps_flight_must_wait(struct ps_flight *flight)
{
    if (flight->first != NULL || atomic_load(&flight->held) <= WINDOW || leave_behind(flight)) {
        return false;
    }
    atomic_store(&flight->wants_room, true);
    /* Room may have come before anybody saw that it is wanted. */
    bool late =
        atomic_load(&flight->held) <= WINDOW / 2 ||
        (has_company(flight) && flight->recorded <= atomic_load(&flight->foremost) + WINDOW / 2);
    return !late || !atomic_exchange(&flight->wants_room, false);
}

ps_time ps_flight_born(const struct ps_flight *flight)
{
    return flight->probe->born;
}

bool ps_flight_is_outdated(const struct ps_flight *flight)
{
    return atomic_load(&flight->outdated);
}

const struct ps_key *ps_flight_key(const struct ps_flight *flight)
{
    return &flight->key;
}

int ps_flight_copy_body(const struct ps_flight *flight, char *out, size_t size)
{
    const struct ps_flight_segment *segment = flight->first;
    if (segment == NULL || flight->recorded > size) {
        return PS_EINVAL;
    }
    for (; segment != NULL && segment->start < flight->recorded;
         segment = atomic_load(&segment->next)) {
        uint64_t left = flight->recorded - segment->start;
        memcpy(out + segment->start, segment->bytes, left < segment->size ? left : segment->size);
    }
    return PS_OK;
}

uint64_t ps_flight_recorded(const struct ps_flight *flight)
{
    return flight->recorded;
}

static void end(struct ps_flight *flight, enum ps_flight_state state,
                const struct ps_flight_facts *facts)
{
    pthread_mutex_t *lock = lock_of(flight->flights, &flight->key);
    flight->facts = *facts;
    flight->flying = false;
    pthread_mutex_lock(lock);
    close_flight(flight);
    pthread_mutex_unlock(lock);
    atomic_store(&flight->published, flight->recorded);
    atomic_store(&flight->wants_room, false); /* its thread may end: nobody posts to it any more */
    set_state(flight, state);
    ps_flight_tell(flight);
    flight_unref(flight);
}

void ps_flight_land(struct ps_flight *flight, struct ps_entry *entry, bool cached,
                    const struct ps_flight_facts *facts)
{
    flight->entry = entry;
    flight->cached = cached;
    end(flight, PS_FLIGHT_LANDED, facts);
}

void ps_flight_refuse(struct ps_flight *flight, const struct ps_flight_refusal *refusal,
                      const struct ps_flight_facts *facts)
{
    flight->refusal = *refusal;
    end(flight, PS_FLIGHT_REFUSED, facts);
}

void ps_flight_crash(struct ps_flight *flight, const struct ps_flight_facts *facts)
{
    end(flight, PS_FLIGHT_CRASHED, facts);
}
