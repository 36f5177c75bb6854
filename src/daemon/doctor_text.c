#include "daemon/doctor_text.h"

#include <netinet/in.h>
#include <string.h>
#include <time.h>

enum { LISTEN = 0x0a /* TCP_LISTEN of the kernel */ };

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Takes the next word off; false when there is none. */
static bool next_word(struct ps_str *rest, struct ps_str *word)
{
    while (rest->len > 0 && is_blank(rest->ptr[0])) {
        *rest = ps_str_skip(*rest, 1);
    }
    size_t len = 0;
    while (len < rest->len && !is_blank(rest->ptr[len])) {
        len++;
    }
    *word = ps_str_first(*rest, len);
    *rest = ps_str_skip(*rest, len);
    return len > 0;
}

/* --- sockets ---------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Exactly this many upper-case digits. */
static bool read_hex(struct ps_str text, size_t digits, uint32_t *out)
{
    uint32_t value = 0;
    for (size_t i = 0; i < digits; i++) {
        int digit = i < text.len ? hex_digit(text.ptr[i]) : -1;
        if (digit < 0) {
            return false;
        }
        value = value << 4 | (uint32_t)digit;
    }
    *out = value;
    return text.len == digits;
}

/* "0100007F:1388", or 32 digits in front of the colon. */
static bool read_address(struct ps_str text, struct ps_address *out)
{
    size_t colon = ps_str_find(text, ':');
    uint32_t words[4];
    uint32_t port;
    if ((colon != 8 && colon != 32) || !read_hex(ps_str_skip(text, colon + 1), 4, &port)) {
        return false;
    }
    for (size_t i = 0; i < colon / 8; i++) {
        if (!read_hex(ps_str_first(ps_str_skip(text, i * 8), 8), 8, &words[i])) {
            return false;
        }
    }
    *out = (struct ps_address){0};
    if (colon == 8) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        memcpy(&in.sin_addr, words, sizeof in.sin_addr);
        memcpy(&out->storage, &in, sizeof in);
        out->len = sizeof in;
    } else {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        memcpy(&in6.sin6_addr, words, sizeof in6.sin6_addr);
        memcpy(&out->storage, &in6, sizeof in6);
        out->len = sizeof in6;
    }
    return true;
}

/* sl local remote state queues timer retransmits uid timeout inode ... */
static bool read_socket(struct ps_str line, struct ps_doctor_socket *out)
{
    enum { LOCAL = 1, STATE = 3, UID = 7, INODE = 9, WORDS };
    struct ps_str words[WORDS];
    uint32_t state;
    struct ps_doctor_socket found;
    for (size_t i = 0; i < WORDS; i++) {
        if (!next_word(&line, &words[i])) {
            return false;
        }
    }
    if (!read_hex(words[STATE], 2, &state) || state != LISTEN ||
        !read_address(words[LOCAL], &found.at) || ps_str_to_u64(words[UID], &found.uid) != PS_OK ||
        ps_str_to_u64(words[INODE], &found.inode) != PS_OK) {
        return false;
    }
    *out = found;
    return true;
}

bool ps_doctor_next_socket(struct ps_str *rest, struct ps_doctor_socket *out)
{
    struct ps_str line;
    while (ps_str_split(rest, '\n', &line)) {
        if (read_socket(line, out)) {
            return true;
        }
    }
    return false;
}

static bool is_any(const struct ps_address *address)
{
    if (address->storage.ss_family == AF_INET) {
        return ((const struct sockaddr_in *)(const void *)&address->storage)->sin_addr.s_addr == 0;
    }
    const struct sockaddr_in6 *in6 = (const void *)&address->storage;
    return IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

bool ps_doctor_collides(const struct ps_address *wanted, const struct ps_address *held)
{
    if (ps_address_port(wanted) != ps_address_port(held)) {
        return false;
    }
    const struct ps_address *any = is_any(held) ? held : is_any(wanted) ? wanted : NULL;
    if (any == NULL) {
        return ps_address_eq(wanted, held);
    }
    return any->storage.ss_family == AF_INET6 ||
           wanted->storage.ss_family == held->storage.ss_family || (is_any(wanted) && is_any(held));
}

/* --- figures ---------------------------------------------------------------------------------- */

int ps_doctor_read_number(struct ps_str text, uint64_t *out)
{
    struct ps_str word;
    struct ps_str more;
    if (!next_word(&text, &word) || next_word(&text, &more)) {
        return PS_EPARSE;
    }
    return ps_str_to_u64(word, out) == PS_OK ? PS_OK : PS_EPARSE;
}

int ps_doctor_read_pair(struct ps_str text, uint64_t *low, uint64_t *high)
{
    struct ps_str words[3];
    uint64_t first;
    uint64_t second;
    if (!next_word(&text, &words[0]) || !next_word(&text, &words[1]) ||
        next_word(&text, &words[2]) || ps_str_to_u64(words[0], &first) != PS_OK ||
        ps_str_to_u64(words[1], &second) != PS_OK) {
        return PS_EPARSE;
    }
    *low = first;
    *high = second;
    return PS_OK;
}

static bool read_limit(struct ps_str word, uint64_t *out)
{
    if (ps_str_eq(word, PS_STR("unlimited"))) {
        *out = PS_DOCTOR_UNLIMITED;
        return true;
    }
    return ps_str_to_u64(word, out) == PS_OK;
}

/* The rest of the line that begins with `name`; false when there is none. */
static bool find_row(struct ps_str text, struct ps_str name, struct ps_str *rest)
{
    struct ps_str line;
    while (ps_str_split(&text, '\n', &line)) {
        if (ps_str_starts_with(line, name)) {
            *rest = ps_str_skip(line, name.len);
            return true;
        }
    }
    return false;
}

int ps_doctor_read_descriptors(struct ps_str text, uint64_t *soft, uint64_t *hard)
{
    struct ps_str row;
    struct ps_str words[2];
    uint64_t limits[2];
    if (!find_row(text, PS_STR("Max open files"), &row) || !next_word(&row, &words[0]) ||
        !next_word(&row, &words[1]) || !read_limit(words[0], &limits[0]) ||
        !read_limit(words[1], &limits[1])) {
        return PS_EPARSE;
    }
    *soft = limits[0];
    *hard = limits[1];
    return PS_OK;
}

int ps_doctor_read_meminfo(struct ps_str text, struct ps_str row, uint64_t *bytes)
{
    struct ps_str rest;
    struct ps_str words[2];
    uint64_t kilobytes;
    if (!find_row(text, row, &rest) || !ps_str_starts_with(rest, PS_STR(":"))) {
        return PS_EPARSE;
    }
    rest = ps_str_skip(rest, 1);
    if (!next_word(&rest, &words[0]) || !next_word(&rest, &words[1]) ||
        !ps_str_eq(words[1], PS_STR("kB")) || ps_str_to_u64(words[0], &kilobytes) != PS_OK ||
        kilobytes > UINT64_MAX / 1024) {
        return PS_EPARSE;
    }
    *bytes = kilobytes * 1024;
    return PS_OK;
}

struct ps_str ps_doctor_cgroup(struct ps_str text)
{
    struct ps_str path;
    bool found = find_row(text, PS_STR("0::"), &path);
    return found && ps_str_starts_with(path, PS_STR("/")) ? path : PS_STR("");
}

int ps_doctor_read_max(struct ps_str text, uint64_t *bytes)
{
    struct ps_str rest = text;
    struct ps_str word;
    struct ps_str more;
    if (next_word(&rest, &word) && ps_str_eq(word, PS_STR("max")) && !next_word(&rest, &more)) {
        *bytes = PS_DOCTOR_UNLIMITED;
        return PS_OK;
    }
    return ps_doctor_read_number(text, bytes);
}

int ps_doctor_read_quota(struct ps_str text, double *cores)
{
    struct ps_str rest = text;
    struct ps_str word;
    uint64_t quota;
    uint64_t period;
    if (next_word(&rest, &word) && ps_str_eq(word, PS_STR("max"))) {
        *cores = 0;
        return ps_doctor_read_number(rest, &period);
    }
    if (ps_doctor_read_pair(text, &quota, &period) != PS_OK || period == 0) {
        return PS_EPARSE;
    }
    *cores = (double)quota / (double)period;
    return PS_OK;
}

int ps_doctor_read_major(struct ps_str version, uint64_t *major)
{
    size_t dot = ps_str_find(version, '.');
    return dot < version.len && ps_str_to_u64(ps_str_first(version, dot), major) == PS_OK
               ? PS_OK
               : PS_EPARSE;
}

/* --- dates ------------------------------------------------------------------------------------ */

/* Decimal digits in a field of fixed width; false when there is anything else. */
static bool read_digits(const char *at, size_t digits, int *out)
{
    int value = 0;
    for (size_t i = 0; i < digits; i++) {
        if (at[i] < '0' || at[i] > '9') {
            return false;
        }
        value = value * 10 + (at[i] - '0');
    }
    *out = value;
    return true;
}

static bool read_month(const char *at, int *out)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int i = 0; i < 12; i++) {
        if (memcmp(at, months + (ptrdiff_t)i * 3, 3) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* timegm() turns the 31st of April into the 1st of May: then it was no date. */
static int to_seconds(struct tm *tm, int64_t *seconds)
{
    struct tm asked = *tm;
    time_t time = timegm(tm);
    if (tm->tm_mday != asked.tm_mday || tm->tm_mon != asked.tm_mon ||
        tm->tm_hour != asked.tm_hour || tm->tm_min != asked.tm_min) {
        return PS_EPARSE;
    }
    *seconds = time;
    return PS_OK;
}

int ps_doctor_read_date(struct ps_str text, int64_t *seconds)
{
    static const char shape[] = "..., .. ... .... ..:..:.. GMT";
    struct tm tm = {0};
    if (text.len != sizeof shape - 1) {
        return PS_EPARSE;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (shape[i] != '.' && text.ptr[i] != shape[i]) {
            return PS_EPARSE;
        }
    }
    if (!read_digits(text.ptr + 5, 2, &tm.tm_mday) || !read_month(text.ptr + 8, &tm.tm_mon) ||
        !read_digits(text.ptr + 12, 4, &tm.tm_year) ||
        !read_digits(text.ptr + 17, 2, &tm.tm_hour) || !read_digits(text.ptr + 20, 2, &tm.tm_min) ||
        !read_digits(text.ptr + 23, 2, &tm.tm_sec) || tm.tm_sec > 60) {
        return PS_EPARSE;
    }
    tm.tm_sec = tm.tm_sec == 60 ? 59 : tm.tm_sec; /* a leap second */
    tm.tm_year -= 1900;
    return to_seconds(&tm, seconds);
}

int ps_doctor_read_build_date(struct ps_str text, int64_t *seconds)
{
    struct tm tm = {0};
    char day[2];
    if (text.len != 11 || text.ptr[3] != ' ' || text.ptr[6] != ' ') {
        return PS_EPARSE;
    }
    day[0] = text.ptr[4] == ' ' ? '0' : text.ptr[4];
    day[1] = text.ptr[5];
    if (!read_month(text.ptr, &tm.tm_mon) || !read_digits(day, 2, &tm.tm_mday) ||
        !read_digits(text.ptr + 7, 4, &tm.tm_year)) {
        return PS_EPARSE;
    }
    tm.tm_year -= 1900;
    return to_seconds(&tm, seconds);
}
