/* nvml_gpm - what parts of the chip are at work: two samples, and the library's word on the time
 * between.
 *
 * Hopper and later, without rights of any kind and without DCGM. The counters are shared with
 * profilers, so nothing is taken that was not asked for, and samples less than 100 ms apart are
 * invalid.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "gpu/nvml_card.h"

#define PERCENT_MAX 100

/* clang-format off */
static const struct metric {
    uint32_t id; /* NVML API reference, GPM Metric Id */
    enum ps_device_field reading;
} metrics[] = {
    {2, PS_DEVICE_SM},
    {3, PS_DEVICE_SM_OCCUPANCY},
    {5, PS_DEVICE_TENSOR},
    {10, PS_DEVICE_DRAM},
};
/* clang-format on */

static bool have_samples(struct ps_nvml_card *card)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(card->samples); i++) {
        if (card->samples[i] == NULL && !PS_NVML_CARD_CALL(card, GPM_ALLOC, &card->samples[i])) {
            card->samples[i] = NULL;
            return false;
        }
    }
    return true;
}

static bool take_sample(struct ps_nvml_card *card)
{
    ps_nvml_gpm_sample sample = card->samples[card->samples_taken % 2];
    bool taken = card->card == NULL ? PS_NVML_CARD_CALL(card, GPM_SAMPLE, card->handle, sample)
                                    : PS_NVML_CARD_CALL(card, GPM_MIG_SAMPLE, card->card,
                                                        card->device.instance, sample);
    card->samples_taken = taken ? card->samples_taken + 1 : 0;
    return taken;
}

static void take(struct ps_nvml_card *card, const struct ps_nvml_gpm_metric *metric,
                 enum ps_device_field field)
{
    bool sane = metric->code == PS_NVML_OK && metric->value >= 0 && metric->value <= PERCENT_MAX;
    card->device.readings[field] =
        sane ? ps_device_known(metric->value) : (struct ps_device_reading){0};
}

static void compare(struct ps_nvml_card *card)
{
    struct ps_nvml_gpm_query query = {
        .version = 1,
        .count = PS_ARRAY_LEN(metrics),
        .older = card->samples[card->samples_taken % 2],
        .newer = card->samples[(card->samples_taken - 1) % 2],
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(metrics); i++) {
        query.metrics[i].id = metrics[i].id;
    }
    bool read = PS_NVML_CARD_CALL(card, GPM_METRICS, &query);
    for (size_t i = 0; i < PS_ARRAY_LEN(metrics); i++) {
        query.metrics[i].code = read ? query.metrics[i].code : PS_NVML_UNKNOWN;
        take(card, &query.metrics[i], metrics[i].reading);
    }
}

void ps_nvml_card_read_gpm(struct ps_nvml_card *card)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(metrics); i++) {
        card->device.readings[metrics[i].reading] = (struct ps_device_reading){0};
    }
    if (card->gpm && have_samples(card) && take_sample(card) && card->samples_taken >= 2) {
        compare(card);
    }
}

void ps_nvml_card_free_gpm(struct ps_nvml_card *card)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(card->samples); i++) {
        if (card->samples[i] != NULL && card->library->GPM_FREE != NULL) {
            (void)PS_NVML_CALL(card->library, GPM_FREE, card->samples[i]);
        }
        card->samples[i] = NULL;
    }
    card->samples_taken = 0;
}
