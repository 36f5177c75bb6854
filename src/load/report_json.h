/* report_json - writing and reading the members of a report.
 *
 * Writers keep the first error and then do nothing, so that a section is a list of members and not of
 * questions. Readers take what is not there, or is of another type, as unknown.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_REPORT_JSON_H
#define PS_LOAD_REPORT_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An object that is being filled. */
struct ps_report_out {
    json_t *object;
    int err; /* PS_OK or PS_ENOMEM */
};

/* Each adds a member. Values are taken over (NULL = out of memory); NAN and infinities, NULL text: nothing
 * is added. Numbers are rounded to so many decimals; text is cleaned. */
void ps_report_out_value(struct ps_report_out *out, const char *name, json_t *value_take);
void ps_report_out_number(struct ps_report_out *out, const char *name, double value, int decimals);
void ps_report_out_count(struct ps_report_out *out, const char *name, uint64_t value);
void ps_report_out_flag(struct ps_report_out *out, const char *name, bool value);
void ps_report_out_text(struct ps_report_out *out, const char *name, const char *value);

/* An object that becomes a member of `parent` when it is done. */
struct ps_report_out ps_report_out_begin(void);
void ps_report_out_end(struct ps_report_out *parent, const char *name, struct ps_report_out *child);

/* Appends to an array; null for NAN. Returns PS_OK or PS_ENOMEM. */
int ps_report_out_push(json_t *array, double value, int decimals);

/* A rounded number as JSON; null for what is not finite. NULL when out of memory. */
json_t *ps_report_out_real(double value, int decimals);

/* Looks up "a.b.c". NULL: not there. */
json_t *ps_report_at(const json_t *json, const char *path);

double ps_report_number(const json_t *json, const char *path); /* NAN: none */
const char *ps_report_text(const json_t *json, const char *path); /* "": none; valid as long as json */
bool ps_report_flag(const json_t *json, const char *path);        /* false: none */
size_t ps_report_size(const json_t *json, const char *path);      /* of an array; 0: none */

#endif
