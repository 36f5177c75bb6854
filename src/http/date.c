#include "http/date.h"

#include <stdio.h>
#include <string.h>

enum { DAY = 24 * 60 * 60 };

static const char day_names[7][10] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                      "Friday", "Saturday", "Sunday"};
static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/* What is read piece by piece; a piece that does not fit empties it for good. */
struct date {
    struct ps_str rest;
    bool bad;
    int year, month, day, hour, minute, second;
};

static void skip_text(struct date *date, struct ps_str text)
{
    date->bad = date->bad || !ps_str_starts_with(date->rest, text);
    date->rest = ps_str_skip(date->rest, text.len);
}

static int take_number(struct date *date, size_t digits)
{
    int number = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = i < date->rest.len ? date->rest.ptr[i] : '\0';
        date->bad = date->bad || c < '0' || c > '9';
        number = number * 10 + (c - '0');
    }
    date->rest = ps_str_skip(date->rest, digits);
    return date->bad ? 0 : number;
}

static void take_month(struct date *date)
{
    date->month = 0;
    for (int i = 0; i < 12; i++) {
        if (ps_str_starts_with(date->rest, (struct ps_str){month_names[i], 3})) {
            date->month = i + 1;
        }
    }
    date->bad = date->bad || date->month == 0;
    date->rest = ps_str_skip(date->rest, 3);
}

static void take_time(struct date *date)
{
    date->hour = take_number(date, 2);
    skip_text(date, PS_STR(":"));
    date->minute = take_number(date, 2);
    skip_text(date, PS_STR(":"));
    date->second = take_number(date, 2);
}

static void take_fixdate(struct date *date)
{
    skip_text(date, PS_STR(", "));
    date->day = take_number(date, 2);
    skip_text(date, PS_STR(" "));
    take_month(date);
    skip_text(date, PS_STR(" "));
    date->year = take_number(date, 4);
    skip_text(date, PS_STR(" "));
    take_time(date);
    skip_text(date, PS_STR(" GMT"));
}

static void take_rfc850(struct date *date)
{
    skip_text(date, PS_STR(", "));
    date->day = take_number(date, 2);
    skip_text(date, PS_STR("-"));
    take_month(date);
    skip_text(date, PS_STR("-"));
    date->year = take_number(date, 2);
    skip_text(date, PS_STR(" "));
    take_time(date);
    skip_text(date, PS_STR(" GMT"));
}

static void take_asctime(struct date *date)
{
    skip_text(date, PS_STR(" "));
    take_month(date);
    skip_text(date, PS_STR(" "));
    bool padded = ps_str_starts_with(date->rest, PS_STR(" "));
    date->rest = ps_str_skip(date->rest, padded ? 1 : 0);
    date->day = take_number(date, padded ? 1 : 2);
    skip_text(date, PS_STR(" "));
    take_time(date);
    skip_text(date, PS_STR(" "));
    date->year = take_number(date, 4);
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_of_month(int year, int month)
{
    static const int days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days since 1970-01-01 in the Gregorian calendar; years 1 to 9999. */
static int64_t days_since_1970(int year, int month, int day)
{
    int64_t before = year - 1;
    int64_t days = before * 365 + before / 4 - before / 100 + before / 400;
    for (int m = 1; m < month; m++) {
        days += days_of_month(year, m);
    }
    return days + day - 1 - 719162;
}

/* A second of 60 is a leap second. */
static bool is_sound(const struct date *date)
{
    return !date->bad && date->rest.len == 0 && date->year >= 1 && date->day >= 1 &&
           date->day <= days_of_month(date->year, date->month) && date->hour <= 23 &&
           date->minute <= 59 && date->second <= 60;
}

static int64_t seconds_of(const struct date *date)
{
    return days_since_1970(date->year, date->month, date->day) * DAY + date->hour * 3600 +
           date->minute * 60 + date->second;
}

/* The year of a day; exact. */
static int year_of(int64_t days)
{
    int year = (int)(days / 365) + 1970;
    while (days < days_since_1970(year, 1, 1)) {
        year--;
    }
    while (days >= days_since_1970(year + 1, 1, 1)) {
        year++;
    }
    return year;
}

static int year_at(int64_t now)
{
    return now < 0 ? 1970 : year_of(now / DAY);
}

/* The name at the start: of three letters, or whole. Both say which form it is. */
static size_t day_name(struct ps_str text, bool *whole)
{
    for (size_t i = 0; i < 7; i++) {
        struct ps_str name = ps_str_from(day_names[i]);
        *whole = ps_str_starts_with(text, name);
        if (*whole || ps_str_starts_with(text, ps_str_first(name, 3))) {
            return *whole ? name.len : 3;
        }
    }
    return 0;
}

int ps_date_parse(struct ps_str text, int64_t now, int64_t *out)
{
    bool whole;
    size_t name = day_name(text, &whole);
    if (name == 0) {
        return PS_EPARSE;
    }
    struct date date = {.rest = ps_str_skip(text, name)};
    if (whole) {
        take_rfc850(&date);
        int this_year = year_at(now);
        date.year += this_year - this_year % 100;
        date.year -= date.year > this_year + 50 ? 100 : 0;
    } else if (ps_str_starts_with(date.rest, PS_STR(","))) {
        take_fixdate(&date);
    } else {
        take_asctime(&date);
    }
    if (!is_sound(&date)) {
        return PS_EPARSE;
    }
    *out = seconds_of(&date);
    return PS_OK;
}

int ps_date_write(int64_t seconds, char out[PS_DATE_LEN + 1])
{
    int64_t days = seconds / DAY - (seconds % DAY < 0);
    if (days < days_since_1970(1, 1, 1) || days >= days_since_1970(9999, 12, 31) + 1) {
        return PS_EINVAL;
    }
    int year = year_of(days);
    int month = 1;
    while (month < 12 && days >= days_since_1970(year, month + 1, 1)) {
        month++;
    }
    int day = (int)(days - days_since_1970(year, month, 1)) + 1;
    int time = (int)(seconds - days * DAY);
    int weekday = (int)(((days + 3) % 7 + 7) % 7);
    char text[64]; /* more than any int could take: the compiler does not know how small ours are */
    snprintf(text, sizeof text, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", day_names[weekday], day,
             month_names[month - 1], year, time / 3600, time / 60 % 60, time % 60);
    memcpy(out, text, PS_DATE_LEN);
    out[PS_DATE_LEN] = '\0';
    return PS_OK;
}
