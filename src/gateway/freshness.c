#include "gateway/freshness.h"

#include "gateway/validator.h"
#include "http/date.h"

static void read_pragma(struct ps_freshness_request *out, const struct ps_h1_head *head)
{
    uint64_t both = PS_H1_BIT(PS_H1_PRAGMA) | PS_H1_BIT(PS_H1_CACHE_CONTROL);
    if ((head->seen & both) != PS_H1_BIT(PS_H1_PRAGMA)) {
        return;
    }
    for (size_t i = 0; i < head->header_count; i++) {
        struct ps_str rest = head->headers[i].value;
        struct ps_str member;
        while (head->headers[i].id == PS_H1_PRAGMA && ps_str_next_member(&rest, &member)) {
            if (ps_str_ieq(member, PS_STR("no-cache"))) {
                out->cc.set |= PS_CC_BIT(PS_CC_NO_CACHE);
            }
        }
    }
}

static bool has(const struct ps_h1_head *head, struct ps_str name)
{
    return ps_h1_head_find_name(head, name) != NULL;
}

void ps_freshness_read_request(struct ps_freshness_request *out, const struct ps_h1_head *head)
{
    enum ps_h1_method method = head->method_id;
    *out = (struct ps_freshness_request){
        .is_get = method == PS_H1_METHOD_GET || method == PS_H1_METHOD_HEAD,
        .is_head = method == PS_H1_METHOD_HEAD,
        .authorization = (head->seen & PS_H1_BIT(PS_H1_AUTHORIZATION)) != 0,
        .range = (head->seen & PS_H1_BIT(PS_H1_RANGE)) != 0 || has(head, PS_STR("If-Range")),
        .precondition = has(head, PS_STR("If-Match")) || has(head, PS_STR("If-Unmodified-Since")),
        .conditional = (head->seen & PS_H1_BIT(PS_H1_IF_NONE_MATCH)) != 0 ||
                       has(head, PS_STR("If-Modified-Since")),
    };
    out->is_safe = out->is_get || method == PS_H1_METHOD_OPTIONS || method == PS_H1_METHOD_TRACE;
    ps_cache_control_read(&out->cc, head);
    read_pragma(out, head);
}

bool ps_freshness_may_keep(const struct ps_freshness_request *request)
{
    return request->is_get && !request->is_head && !request->range && !request->precondition &&
           !ps_cc_has(&request->cc, PS_CC_NO_STORE);
}

/* --- an answer */

/* Whoever gets it may keep it for a guessed time (RFC 9110, 15.1); 206 is never kept here. */
static bool is_guessable(int status)
{
    static const int statuses[] = {200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        if (status == statuses[i]) {
            return true;
        }
    }
    return false;
}

static bool is_final(int status)
{
    return status >= 200 && status != 206 && status != 304;
}

static bool is_understood(int status)
{
    return !ps_str_eq(ps_h1_reason(status), PS_STR("Unknown"));
}

/* A date in seconds; false when there is none or it is none. */
static bool find_date(const struct ps_h1_header *header, ps_time now, int64_t *seconds)
{
    return header != NULL && ps_date_parse(header->value, now / PS_SECOND, seconds) == PS_OK;
}

static const struct ps_h1_header *last_modified_of(const struct ps_h1_head *head)
{
    return ps_h1_head_find_name(head, PS_STR("Last-Modified"));
}

/* When the answer was made: Date, else when it came (RFC 9110, 6.6.1). */
static int64_t date_of(const struct ps_freshness_answer *answer)
{
    int64_t seconds;
    bool known = find_date(ps_h1_head_find(answer->head, PS_H1_DATE), answer->came, &seconds);
    return known ? seconds : answer->came / PS_SECOND;
}

/* The first member counts; what is no number is as if it were not there (RFC 9111, 5.1). */
static ps_span age_of(const struct ps_h1_head *head)
{
    const struct ps_h1_header *header = ps_h1_head_find(head, PS_H1_AGE);
    struct ps_str rest = header == NULL ? PS_STR("") : header->value;
    struct ps_str member = PS_STR("");
    uint64_t seconds;
    (void)ps_str_split(&rest, ',', &member);
    int err = ps_str_to_u64(ps_str_trim(member), &seconds);
    if (err == PS_EPARSE) {
        return 0;
    }
    bool fits = err == PS_OK && seconds < (uint64_t)PS_CC_SECONDS_MAX;
    return (fits ? (ps_span)seconds : PS_CC_SECONDS_MAX) * PS_SECOND;
}

/* How old it was when it came (RFC 9111, 4.2.3). */
static ps_span initial_age(const struct ps_freshness_answer *answer)
{
    int64_t apparent = answer->came / PS_SECOND - date_of(answer);
    apparent = apparent > PS_CC_SECONDS_MAX ? PS_CC_SECONDS_MAX : apparent;
    ps_span delay = answer->came > answer->asked ? answer->came - answer->asked : 0;
    ps_span corrected = age_of(answer->head) + delay;
    ps_span seen = apparent > 0 ? apparent * PS_SECOND : 0;
    return seen > corrected ? seen : corrected;
}

static ps_span span_between(int64_t from, int64_t to)
{
    int64_t seconds = to > from ? to - from : 0;
    return (seconds < PS_CC_SECONDS_MAX ? seconds : PS_CC_SECONDS_MAX) * PS_SECOND;
}

/* Expires less Date; a date that is none was long ago (RFC 9111, 5.3). */
static ps_span expires_in(const struct ps_freshness_answer *answer)
{
    int64_t seconds;
    bool known = find_date(ps_h1_head_find(answer->head, PS_H1_EXPIRES), answer->came, &seconds);
    return known ? span_between(date_of(answer), seconds) : 0;
}

static bool is_said(const struct ps_cache_control *cc, enum ps_cc directive)
{
    return ((cc->set | cc->invalid) & PS_CC_BIT(directive)) != 0;
}

/* The lifetime that the server gave (RFC 9111, 4.2.1). False when it gave none. What is said and
 * makes no sense is no lifetime at all. */
static bool find_lifetime(const struct ps_cache_control *cc,
                          const struct ps_freshness_answer *answer, ps_span *out)
{
    *out = 0;
    for (int i = 0; i < 2; i++) {
        enum ps_cc directive = i == 0 ? PS_CC_S_MAXAGE : PS_CC_MAX_AGE;
        if (is_said(cc, directive)) {
            *out = ps_cc_has(cc, directive) ? cc->seconds[directive] : 0;
            return true;
        }
    }
    if (!cc->targeted && (answer->head->seen & PS_H1_BIT(PS_H1_EXPIRES)) != 0) {
        *out = expires_in(answer);
        return true;
    }
    return false;
}

/* A tenth of the time since it was changed (RFC 9111, 4.2.2). */
static ps_span guess(const struct ps_freshness_answer *answer,
                     const struct ps_freshness_policy *policy)
{
    int64_t changed;
    bool known = find_date(last_modified_of(answer->head), answer->came, &changed);
    if (!known || (answer->head->seen & PS_H1_BIT(PS_H1_SET_COOKIE)) != 0) {
        return 0;
    }
    ps_span tenth = span_between(changed, date_of(answer)) / 10;
    return tenth < policy->guess_max ? tenth : policy->guess_max;
}

static bool varies_by_anything(const struct ps_h1_head *head)
{
    for (size_t i = 0; i < head->header_count; i++) {
        struct ps_str rest = head->headers[i].value;
        struct ps_str member;
        while (head->headers[i].id == PS_H1_VARY && ps_str_next_member(&rest, &member)) {
            if (ps_str_eq(member, PS_STR("*"))) {
                return true;
            }
        }
    }
    return false;
}

static bool is_allowed_with_authorization(const struct ps_cache_control *cc)
{
    return ps_cc_has(cc, PS_CC_PUBLIC) || ps_cc_has(cc, PS_CC_MUST_REVALIDATE) ||
           ps_cc_has(cc, PS_CC_S_MAXAGE);
}

/* Why an answer may not be kept (RFC 9111, 3), or NULL. */
static const char *why_not(const struct ps_freshness_request *request,
                           const struct ps_cache_control *cc, const struct ps_h1_head *head,
                           const struct ps_freshness_policy *policy)
{
    bool must_understand = ps_cc_has(cc, PS_CC_MUST_UNDERSTAND);
    bool understood = is_understood(head->status);
    if (!ps_freshness_may_keep(request)) {
        return "request";
    }
    if (!is_final(head->status) || (must_understand && !understood)) {
        return "status";
    }
    if (ps_cc_has(cc, PS_CC_NO_STORE) && !must_understand) {
        return "no-store";
    }
    if (ps_cc_has(cc, PS_CC_PRIVATE)) {
        return "private";
    }
    if (request->authorization && !policy->own_authorization &&
        !is_allowed_with_authorization(cc)) {
        return "authorization";
    }
    return varies_by_anything(head) ? "vary" : NULL;
}

static ps_span longest(ps_span a, ps_span b)
{
    return a > b ? a : b;
}

static ps_span seconds_or(const struct ps_cache_control *cc, enum ps_cc directive,
                          ps_span otherwise)
{
    return is_said(cc, directive) ? (ps_cc_has(cc, directive) ? cc->seconds[directive] : 0)
                                  : otherwise;
}

/* What may be done with it when it is stale (RFC 9111, 4.2.4; RFC 5861). */
static void set_stale_use(struct ps_freshness_life *out, const struct ps_cache_control *cc,
                          const struct ps_freshness_policy *policy)
{
    out->no_stale = cc->broken || ps_cc_has(cc, PS_CC_NO_CACHE) ||
                    ps_cc_has(cc, PS_CC_MUST_REVALIDATE) || ps_cc_has(cc, PS_CC_PROXY_REVALIDATE) ||
                    is_said(cc, PS_CC_S_MAXAGE);
    if (!out->no_stale) {
        out->while_revalidate =
            seconds_or(cc, PS_CC_STALE_WHILE_REVALIDATE, policy->while_revalidate);
        out->if_error = seconds_or(cc, PS_CC_STALE_IF_ERROR, policy->if_error);
    }
}

/* What there is to keep it for, behind its lifetime. */
static ps_span stays(const struct ps_freshness_life *life, const struct ps_h1_head *head,
                     ps_span age, const struct ps_freshness_policy *policy)
{
    bool of_use = ps_validator_has(head) || (life->fresh > age && !life->no_stale);
    return longest(longest(life->while_revalidate, life->if_error), of_use ? policy->keep : 0);
}

static bool set_fresh(struct ps_freshness_life *out, const struct ps_cache_control *cc,
                      const struct ps_freshness_answer *answer,
                      const struct ps_freshness_policy *policy)
{
    bool given = find_lifetime(cc, answer, &out->fresh);
    bool may_guess = is_guessable(answer->head->status) || ps_cc_has(cc, PS_CC_PUBLIC);
    if (!given && may_guess) {
        out->fresh = guess(answer, policy);
        out->guessed = out->fresh > 0;
    }
    if (cc->broken || ps_cc_has(cc, PS_CC_NO_CACHE)) {
        out->fresh = 0;
    }
    return given || may_guess;
}

void ps_freshness_of(struct ps_freshness_life *out, const struct ps_freshness_request *request,
                     const struct ps_freshness_answer *answer,
                     const struct ps_freshness_policy *policy)
{
    struct ps_cache_control cc;
    ps_cache_control_read_answer(&cc, answer->head);
    *out = (struct ps_freshness_life){.why = why_not(request, &cc, answer->head, policy)};
    if (out->why != NULL) {
        return;
    }
    ps_span age = initial_age(answer);
    bool cacheable = set_fresh(out, &cc, answer, policy);
    set_stale_use(out, &cc, policy);
    out->stored = answer->came - age;
    out->stays = stays(out, answer->head, age, policy);
    out->keep = cacheable && out->fresh + out->stays > age;
    out->why = out->keep ? NULL : cacheable ? "stale" : "status";
}

void ps_freshness_of_entry(struct ps_freshness_life *out, const struct ps_entry *entry, ps_time now,
                           const struct ps_freshness_policy *policy)
{
    *out = (struct ps_freshness_life){.keep = true, .stored = entry->stored, .fresh = entry->fresh};
    if (ps_entry_age(entry, now) < entry->fresh) {
        return;
    }
    struct ps_kept kept;
    struct ps_cache_control cc;
    if (ps_kept_read(&kept, ps_entry_head(entry), entry->status) != PS_OK) {
        out->no_stale = true;
        return;
    }
    ps_cache_control_read_answer(&cc, &kept.head);
    set_stale_use(out, &cc, policy);
}

/* --- its use */

/* Does the request want more than an answer that is fresh? (RFC 9111, 5.2.1) */
static bool wants_another(const struct ps_cache_control *cc, ps_span fresh, ps_span age)
{
    if (ps_cc_has(cc, PS_CC_NO_CACHE)) {
        return true;
    }
    if (ps_cc_has(cc, PS_CC_MAX_AGE) &&
        (age > cc->seconds[PS_CC_MAX_AGE] || cc->seconds[PS_CC_MAX_AGE] == 0)) {
        return true;
    }
    return ps_cc_has(cc, PS_CC_MIN_FRESH) && fresh - age < cc->seconds[PS_CC_MIN_FRESH];
}

static bool takes_stale(const struct ps_cache_control *cc, ps_span stale_for)
{
    return ps_cc_has(cc, PS_CC_MAX_STALE) && stale_for <= cc->seconds[PS_CC_MAX_STALE];
}

static struct ps_freshness_use ask(const struct ps_cache_control *cc, enum ps_cache_fwd fwd,
                                   bool fallback)
{
    bool refuse = ps_cc_has(cc, PS_CC_ONLY_IF_CACHED);
    return (struct ps_freshness_use){
        .verdict = refuse ? PS_FRESHNESS_REFUSE : PS_FRESHNESS_ASK,
        .fwd = fwd,
        .fallback = fallback,
    };
}

struct ps_freshness_use ps_freshness_use(const struct ps_freshness_request *request,
                                         const struct ps_freshness_life *life, ps_span age)
{
    const struct ps_cache_control *cc = &request->cc;
    bool fresh = age < life->fresh;
    bool unwanted = wants_another(cc, life->fresh, age);
    if (fresh && !unwanted) {
        return (struct ps_freshness_use){.verdict = PS_FRESHNESS_SEND};
    }
    if (unwanted || life->no_stale) {
        return ask(cc, fresh ? PS_CACHE_FWD_REQUEST : PS_CACHE_FWD_STALE, false);
    }
    ps_span stale_for = age - life->fresh;
    if (takes_stale(cc, stale_for)) {
        return (struct ps_freshness_use){.verdict = PS_FRESHNESS_SEND};
    }
    if (stale_for < life->while_revalidate) {
        return (struct ps_freshness_use){.verdict = PS_FRESHNESS_SEND_ANEW};
    }
    bool asked =
        ps_cc_has(cc, PS_CC_STALE_IF_ERROR) && stale_for < cc->seconds[PS_CC_STALE_IF_ERROR];
    return ask(cc, PS_CACHE_FWD_STALE, asked || stale_for < life->if_error);
}
