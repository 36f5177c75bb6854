/* vitals_pages - what the names on the pages of inference servers mean: the tables of gpu/vitals.
 *
 * Thread: constant.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_VITALS_PAGES_H
#define PS_GPU_VITALS_PAGES_H

#include <stdbool.h>

#include "gpu/vitals.h"

enum ps_vitals_target {
    PS_VITALS_TO_FIELD,  /* .field is enum ps_vitals_field */
    PS_VITALS_TO_DEVICE, /* .field is enum ps_device_field, of the device that .key names */
    PS_VITALS_TO_DEVICE_UUID,
    PS_VITALS_TO_DEVICE_NAME,
    PS_VITALS_TO_DEVICE_INDEX,
    PS_VITALS_TO_ANY_DEVICE, /* JSON: any member that is called as in ps_device_rows */
    PS_VITALS_TO_MODEL,      /* the name of the model; with .loaded it is listed as that */
    PS_VITALS_TO_MODEL_BYTES,
    PS_VITALS_TO_MODEL_MARK,   /* a number or a date that moves when the model is used */
    PS_VITALS_TO_MODEL_LOADED, /* .when is the word for it; another word: not loaded */
    PS_VITALS_TO_BATCH,        /* JSON: .field is enum ps_vitals_batch_part, of an element in an element */
    PS_VITALS_TO_STATE,        /* .field is enum ps_vitals_state, if the value is .when */
    PS_VITALS_TO_SIMULATED
};

/* What of a batch. */
enum ps_vitals_batch_part { PS_VITALS_BATCH_SIZE, PS_VITALS_BATCH_COUNT, PS_VITALS_BATCH_SECONDS };

enum ps_vitals_how {
    PS_VITALS_SUM,  /* of all samples or elements */
    PS_VITALS_MOST, /* the largest of them */
    PS_VITALS_COUNT /* JSON: how many elements the array has; with .when: so many are that */
};

/* One meaning of a name; several rows may have the same name, one behind the other. */
struct ps_vitals_meaning {
    const char *name; /* of a metric, _total left out; or a path of gpu/leaf */
    enum ps_vitals_target target;
    int field;
    enum ps_vitals_how how;
    double scale;       /* what the number is multiplied with; 0 = 1 */
    const char *key;    /* text: the label that tells devices or models apart */
    const char *label;  /* text: a sample counts only if this label ... */
    const char *when;   /* ... is this; without when: the label's value is the number */
    unsigned char rank; /* the highest that is told counts */
    bool loaded;
};

struct ps_vitals_format {
    const char *name;
    bool json;
    const struct ps_vitals_meaning *meanings; /* ended by a row without a name */
};

extern const struct ps_vitals_format ps_vitals_formats[PS_VITALS_PAGES];

#endif
