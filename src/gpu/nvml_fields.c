/* nvml_fields - what the library tells as numbered fields: all that are wanted in one call.
 *
 * Fields that one request to the driver can serve are served together, so this costs less than the
 * functions of the same meaning, which are only the fall-back. A field that a card has not got is
 * not asked for again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "base/check.h"
#include "gpu/nvml_card.h"

#define ALL_LINKS   UINT32_MAX
#define CORRECTED   0
#define UNCORRECTED 1
#define VOLATILE    0 /* since the driver was loaded */

enum meaning { VALUE, RATE };

/* clang-format off */
static const struct field {
    uint32_t id; /* NVML API reference, Field Value Enums */
    uint32_t scope;
    enum ps_device_field reading;
    enum meaning meaning;
    double unit; /* one step of it in the unit of the reading */
} fields[] = {
    {197, 0, PS_DEVICE_PCIE_TX, RATE, 1},  /* the first four are card->rates[0..3] */
    {198, 0, PS_DEVICE_PCIE_RX, RATE, 1},
    {138, ALL_LINKS, PS_DEVICE_NVLINK_TX, RATE, 1024},
    {139, ALL_LINKS, PS_DEVICE_NVLINK_RX, RATE, 1024},
    {3, 0, PS_DEVICE_ECC_CORRECTED, VALUE, 1},
    {4, 0, PS_DEVICE_ECC_UNCORRECTED, VALUE, 1},
    {82, 0, PS_DEVICE_MEMORY_TEMPERATURE, VALUE, 1},
    {83, 0, PS_DEVICE_ENERGY, VALUE, 1e-3},
    {94, 0, PS_DEVICE_PCIE_REPLAYS, VALUE, 1},
    {142, 0, PS_DEVICE_ROWS_CORRECTED, VALUE, 1},
    {143, 0, PS_DEVICE_ROWS_UNCORRECTED, VALUE, 1},
    {144, 0, PS_DEVICE_ROWS_PENDING, VALUE, 1},
    {145, 0, PS_DEVICE_ROWS_FAILED, VALUE, 1},
    {230, 0, PS_DEVICE_RECOVERY, VALUE, 1},
};
/* clang-format on */

static_assert(PS_ARRAY_LEN(fields) <= PS_NVML_FIELDS_MAX, "one bit for each");

static bool number_of(const struct ps_nvml_field *field, double *out)
{
    switch (field->type) {
    case PS_NVML_DOUBLE:
        *out = field->value.real;
        return isfinite(field->value.real) && field->value.real >= 0;
    case PS_NVML_UINT:
        *out = field->value.uint;
        return field->value.uint != UINT32_MAX;
    case PS_NVML_ULONG:
    case PS_NVML_ULONGLONG:
        *out = (double)field->value.ulong;
        return !ps_nvml_is_blank(field->value.ulong);
    case PS_NVML_LONGLONG:
        *out = (double)field->value.longlong;
        return field->value.longlong >= 0 && !ps_nvml_is_blank((uint64_t)field->value.longlong);
    case PS_NVML_INT:
        *out = field->value.sint;
        return field->value.sint >= 0;
    default:
        return false;
    }
}

/* Per second between the last two; unknown for the first, when the counter went back, and for one
 * of 32 bits, which a fast bus wraps around several times between two looks. */
static struct ps_device_reading rate_of(struct ps_nvml_rate *rate,
                                        const struct ps_nvml_field *field, double unit)
{
    struct ps_nvml_rate last = *rate;
    bool wide = field->type == PS_NVML_ULONG || field->type == PS_NVML_ULONGLONG;
    rate->known = wide && !ps_nvml_is_blank(field->value.ulong);
    rate->count = field->value.ulong;
    rate->at = field->timestamp;
    if (!last.known || !rate->known || rate->count < last.count || rate->at <= last.at) {
        return (struct ps_device_reading){0};
    }
    return ps_device_known((double)(rate->count - last.count) * unit * 1e6 /
                           (double)(rate->at - last.at));
}

/* Without a counter it may be known from another call: then hands off. */
static void take_rate(struct ps_nvml_rate *rate, const struct ps_nvml_field *value, double unit,
                      struct ps_device_reading *reading)
{
    static const struct ps_nvml_field nothing = {.type = PS_NVML_UINT};
    bool ours = rate->known;
    struct ps_device_reading next = rate_of(rate, value == NULL ? &nothing : value, unit);
    if (ours || rate->known) {
        *reading = next;
    }
}

static void take(struct ps_nvml_card *card, size_t i, const struct ps_nvml_field *value)
{
    struct ps_device_reading *reading = &card->device.readings[fields[i].reading];
    bool read = ps_nvml_card_judge_field(card, i, value->code);
    double number = 0;
    if (fields[i].meaning == RATE) {
        take_rate(&card->rates[i], read ? value : NULL, fields[i].unit, reading);
        return;
    }
    read = read && number_of(value, &number);
    *reading = read ? ps_device_known(number * fields[i].unit) : (struct ps_device_reading){0};
}

static void read_ecc(struct ps_nvml_card *card, uint32_t kind, enum ps_device_field field)
{
    uint64_t count = UINT64_MAX;
    bool read = PS_NVML_CARD_CALL(card, ECC, card->handle, kind, VOLATILE, &count);
    card->device.readings[field] = read && !ps_nvml_is_blank(count) ? ps_device_known((double)count)
                                                                    : (struct ps_device_reading){0};
}

static void fall_back(struct ps_nvml_card *card)
{
    struct ps_device_reading *readings = card->device.readings;
    if (!readings[PS_DEVICE_ENERGY].known) {
        uint64_t millijoules = UINT64_MAX;
        if (PS_NVML_CARD_CALL(card, ENERGY, card->handle, &millijoules) &&
            !ps_nvml_is_blank(millijoules)) {
            readings[PS_DEVICE_ENERGY] = ps_device_known((double)millijoules / 1e3);
        }
    }
    if (!readings[PS_DEVICE_ECC_CORRECTED].known) {
        read_ecc(card, CORRECTED, PS_DEVICE_ECC_CORRECTED);
    }
    if (!readings[PS_DEVICE_ECC_UNCORRECTED].known) {
        read_ecc(card, UNCORRECTED, PS_DEVICE_ECC_UNCORRECTED);
    }
}

/* Puts what this card has into `values`, and the row of each into `rows`. */
static size_t choose(const struct ps_nvml_card *card, struct ps_nvml_field *values, size_t *rows)
{
    size_t count = 0;
    for (size_t i = 0; i < PS_ARRAY_LEN(fields); i++) {
        if ((card->fields_unsupported >> i & 1) == 0) {
            values[count] = (struct ps_nvml_field){
                .id = fields[i].id, .scope = fields[i].scope, .code = PS_NVML_UNKNOWN};
            rows[count++] = i;
        }
    }
    return count;
}

void ps_nvml_card_read_fields(struct ps_nvml_card *card)
{
    struct ps_nvml_field values[PS_ARRAY_LEN(fields)];
    size_t rows[PS_ARRAY_LEN(fields)];
    size_t count = choose(card, values, rows);
    bool read = count > 0 && PS_NVML_CARD_CALL(card, FIELDS, card->handle, (int)count, values);
    for (size_t i = 0; i < count; i++) {
        values[i].code = read ? values[i].code : PS_NVML_UNKNOWN;
        take(card, rows[i], &values[i]);
    }
    fall_back(card);
}
