/* regress - linear regression that learns from one sample at a time.
 *
 * Several outputs are learned from the same inputs (recursive least squares). They share the one
 * matrix that is dear, so an output more costs a row. What is old counts less by `forget` a sample.
 * Until it has learned, a row says what its weights were set to.
 *
 * Thread: owned by one thread. Nothing is allocated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_FORESEE_REGRESS_H
#define PS_FORESEE_REGRESS_H

#include <stddef.h>

enum { PS_REGRESS_INPUTS = 12, PS_REGRESS_OUTPUTS = 8 };

struct ps_regress {
    size_t inputs, outputs;
    double forget; /* 0 to 1, near 1 */
    double weight[PS_REGRESS_OUTPUTS][PS_REGRESS_INPUTS];
    double spread[PS_REGRESS_INPUTS][PS_REGRESS_INPUTS]; /* how little is known of the weights */
};

/* Weights are 0; `doubt` is how far from 0 they may well be, as a variance in units of the noise.
 */
void ps_regress_init(struct ps_regress *regress, size_t inputs, size_t outputs, double doubt,
                     double forget);

double ps_regress_predict(const struct ps_regress *regress, size_t output, const double *inputs);

/* Learns that these inputs gave these outputs. All finite. */
void ps_regress_learn(struct ps_regress *regress, const double *inputs, const double *outputs);

#endif
