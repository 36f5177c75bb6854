/* regress - see regress.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "foresee/regress.h"

#include <string.h>

#include "base/check.h"

/* Inputs that stand still leave their part of the matrix growing by 1/forget for ever. */
#define MOST_SPREAD 1e6

void ps_regress_init(struct ps_regress *regress, size_t inputs, size_t outputs, double doubt,
                     double forget)
{
    PS_CHECK(inputs > 0 && inputs <= PS_REGRESS_INPUTS && outputs <= PS_REGRESS_OUTPUTS);
    memset(regress, 0, sizeof *regress);
    regress->inputs = inputs;
    regress->outputs = outputs;
    regress->forget = forget;
    for (size_t i = 0; i < inputs; i++) {
        regress->spread[i][i] = doubt;
    }
}

double ps_regress_predict(const struct ps_regress *regress, size_t output, const double *inputs)
{
    double sum = 0;
    for (size_t i = 0; i < regress->inputs; i++) {
        sum += regress->weight[output][i] * inputs[i];
    }
    return sum;
}

/* Narrows what is known along these inputs; gain says how far each weight follows an error. */
static void narrow(struct ps_regress *regress, const double *inputs, double *gain)
{
    double along[PS_REGRESS_INPUTS];
    double total = regress->forget;
    for (size_t i = 0; i < regress->inputs; i++) {
        along[i] = 0;
        for (size_t j = 0; j < regress->inputs; j++) {
            along[i] += regress->spread[i][j] * inputs[j];
        }
        total += along[i] * inputs[i];
    }
    for (size_t i = 0; i < regress->inputs; i++) {
        gain[i] = along[i] / total;
    }
    double grow = 1;
    for (size_t i = 0; i < regress->inputs; i++) {
        grow = regress->spread[i][i] > MOST_SPREAD ? regress->forget : grow;
    }
    grow /= regress->forget;
    for (size_t i = 0; i < regress->inputs; i++) {
        for (size_t j = 0; j < regress->inputs; j++) {
            regress->spread[i][j] = (regress->spread[i][j] - gain[i] * along[j]) * grow;
        }
    }
}

void ps_regress_learn(struct ps_regress *regress, const double *inputs, const double *outputs)
{
    double gain[PS_REGRESS_INPUTS];
    double error[PS_REGRESS_OUTPUTS];
    for (size_t k = 0; k < regress->outputs; k++) {
        error[k] = outputs[k] - ps_regress_predict(regress, k, inputs);
    }
    narrow(regress, inputs, gain);
    for (size_t k = 0; k < regress->outputs; k++) {
        for (size_t i = 0; i < regress->inputs; i++) {
            regress->weight[k][i] += gain[i] * error[k];
        }
    }
}
