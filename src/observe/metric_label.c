#include "observe/metric_label.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* ---- names */

static bool is_word(const char *name, bool colons)
{
    for (const char *at = name; *at != '\0'; at++) {
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '_';
        bool digit = *at >= '0' && *at <= '9' && at != name;
        if (!letter && !digit && !(colons && *at == ':')) {
            return false;
        }
    }
    return *name != '\0';
}

/* The suffixes that the formats give to samples would make two families look like one. */
bool ps_metric_name_is_ambiguous(struct ps_str name)
{
    static const struct ps_str ends[] = {
        PS_STR_INIT("_total"), PS_STR_INIT("_created"), PS_STR_INIT("_count"),
        PS_STR_INIT("_sum"),   PS_STR_INIT("_bucket"),  PS_STR_INIT("_info"),
    };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (ps_str_ends_with(name, ends[i])) {
            return true;
        }
    }
    return false;
}

static bool name_is_sane(const struct ps_metric_family *family)
{
    struct ps_str name = ps_str_from(family->name);
    struct ps_str total = PS_STR("_total");
    if (!is_word(family->name, true)) {
        return false;
    }
    if (family->type == PS_METRIC_COUNTER) {
        if (!ps_str_ends_with(name, total)) {
            return false;
        }
        name.len -= total.len;
    }
    if (family->type == PS_METRIC_INFO) {
        if (!ps_str_ends_with(name, PS_STR("_info"))) {
            return false;
        }
        name.len -= PS_STR("_info").len;
    }
    if (name.len == 0 || ps_metric_name_is_ambiguous(name)) {
        return false;
    }
    struct ps_str unit = ps_str_from(family->unit);
    return unit.len == 0 || (is_word(family->unit, false) && ps_str_ends_with(name, unit) &&
                             name.len > unit.len + 1 && name.ptr[name.len - unit.len - 1] == '_');
}

static bool labels_are_sane(const struct ps_metric_family *family)
{
    size_t count = ps_metric_label_count(family);
    for (size_t i = 0; i < count; i++) {
        const char *label = family->labels[i];
        if (!is_word(label, false) || strncmp(label, "__", 2) == 0 || strcmp(label, "le") == 0 ||
            (family->type == PS_METRIC_STATESET && strcmp(label, family->name) == 0)) {
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(label, family->labels[k]) == 0) {
                return false;
            }
        }
    }
    return family->labels[count] == NULL;
}

/* A state becomes the value of a label that is called like the family: no colons. */
static bool states_are_sane(const struct ps_metric_family *family)
{
    if (family->type != PS_METRIC_STATESET) {
        return family->states == NULL;
    }
    size_t count = 0;
    while (family->states != NULL && family->states[count] != NULL) {
        if (family->states[count][0] == '\0' || ++count > PS_METRIC_STATES_MAX) {
            return false;
        }
    }
    return count > 0 && is_word(family->name, false);
}

static bool has_buckets(const struct ps_metric_family *family)
{
    return family->type == PS_METRIC_HISTOGRAM || family->type == PS_METRIC_EXPONENTIAL;
}

/* What only some types can do. */
static bool extras_are_sane(const struct ps_metric_family *family)
{
    bool counter = family->type == PS_METRIC_COUNTER;
    return (!family->exemplars || counter || has_buckets(family)) &&
           (!family->fractional || (counter && family->per_unit == 0)) && states_are_sane(family);
}

static bool bounds_are_sane(const struct ps_metric_family *family)
{
    if (family->type != PS_METRIC_HISTOGRAM) {
        return family->bounds == NULL && family->bounds_count == 0;
    }
    if (family->bounds == NULL || family->bounds_count < 1 ||
        family->bounds_count > PS_METRIC_BOUNDS_MAX) {
        return false;
    }
    for (size_t i = 0; i < family->bounds_count; i++) {
        if (!isfinite(family->bounds[i]) || (i > 0 && family->bounds[i] <= family->bounds[i - 1])) {
            return false;
        }
    }
    return true;
}

bool ps_metric_family_is_sane(const struct ps_metric_family *family)
{
    return name_is_sane(family) && family->help != NULL && family->help[0] != '\0' &&
           family->type <= PS_METRIC_STATESET && family->per_unit >= 0 &&
           isfinite(family->per_unit) && labels_are_sane(family) && bounds_are_sane(family) &&
           extras_are_sane(family);
}

size_t ps_metric_label_count(const struct ps_metric_family *family)
{
    size_t count = 0;
    while (count < PS_METRIC_LABELS_MAX && family->labels[count] != NULL) {
        count++;
    }
    return count;
}

/* ---- values */

/* Copies a short ASCII value; false when there is something to mend. */
static bool copy_plain(struct ps_str value, char *out)
{
    unsigned char all = 0;
    if (value.len > PS_METRIC_VALUE_MAX) {
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        all |= (unsigned char)value.ptr[i];
        out[i] = value.ptr[i];
    }
    return all < 0x80;
}

size_t ps_metric_label_clean(struct ps_str value, char out[PS_METRIC_VALUE_MAX])
{
    static const struct ps_str unknown = PS_STR_INIT("\xef\xbf\xbd");
    if (copy_plain(value, out)) {
        return value.len;
    }
    size_t len = 0;
    while (value.len > 0) {
        size_t step = ps_str_utf8_length(value);
        struct ps_str piece = step == 0 ? unknown : ps_str_first(value, step);
        if (len + piece.len > PS_METRIC_VALUE_MAX) {
            break;
        }
        memcpy(out + len, piece.ptr, piece.len);
        len += piece.len;
        value = ps_str_skip(value, step == 0 ? 1 : step);
    }
    return len;
}

size_t ps_metric_labels_pack(const struct ps_str *values, size_t count,
                             char out[PS_METRIC_PACKED_MAX])
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t len = (uint16_t)ps_metric_label_clean(values[i], out + at + sizeof(len));
        memcpy(out + at, &len, sizeof(len));
        at += sizeof(len) + len;
    }
    return at;
}

void ps_metric_labels_unpack(const char *packed, size_t count, struct ps_str *values)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t len;
        memcpy(&len, packed, sizeof(len));
        values[i] = (struct ps_str){packed + sizeof(len), len};
        packed += sizeof(len) + len;
    }
}
