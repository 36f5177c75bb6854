#include "gpu/batch_fit.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 4, SWEEPS = 60, PLAIN_TERMS = 2, FIRST_KNEE = 7 };

#define ASKED 0.002 /* of a term beyond the first two: how much of the fit it has to be worth */
#define LEAST 1e-12

static double pad(double size, double to)
{
    return ceil(size / to) * to;
}

static void terms_of(double size, double terms[PS_BATCH_FIT_TERMS])
{
    double power = 1;
    while (power < size) {
        power *= 2;
    }
    const double first[FIRST_KNEE] = {
        1, size, pad(size, 8), pad(size, 16), pad(size, 32), pad(size, 64), power};
    memcpy(terms, first, sizeof first);
    for (int i = FIRST_KNEE; i < PS_BATCH_FIT_TERMS; i++) {
        terms[i] = fmax(0, size - (double)(8 << (i - FIRST_KNEE)));
    }
}

/* The normal equations of relative errors. */
struct system {
    double matrix[PS_BATCH_FIT_TERMS][PS_BATCH_FIT_TERMS];
    double right[PS_BATCH_FIT_TERMS];
    double weight; /* sum */
};

static void add_point(struct system *system, const struct ps_batch_fit_point *point, double weight)
{
    double terms[PS_BATCH_FIT_TERMS];
    terms_of(point->size, terms);
    for (int i = 0; i < PS_BATCH_FIT_TERMS; i++) {
        terms[i] /= point->seconds;
    }
    for (int i = 0; i < PS_BATCH_FIT_TERMS; i++) {
        for (int j = 0; j < PS_BATCH_FIT_TERMS; j++) {
            system->matrix[i][j] += weight * terms[i] * terms[j];
        }
        system->right[i] += weight * terms[i];
    }
    system->weight += weight;
}

/* One weight after the other takes its best value, and never one below 0. */
static void solve(const struct system *system, struct ps_batch_fit *fit)
{
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        for (int i = 0; i < PS_BATCH_FIT_TERMS; i++) {
            double own = system->matrix[i][i];
            double right = system->right[i] + own * fit->weight[i];
            for (int j = 0; j < PS_BATCH_FIT_TERMS; j++) {
                right -= system->matrix[i][j] * fit->weight[j];
            }
            double toll = i < PLAIN_TERMS ? 0 : ASKED * sqrt(own * system->weight);
            fit->weight[i] = own > 0 ? fmax(0, (right - toll) / own) : 0;
        }
    }
}

/* How much a point counts that is so far from the curve. */
static double trust(const struct ps_batch_fit *fit, const struct ps_batch_fit_point *point,
                    double noise)
{
    double away = fabs(log(point->seconds / ps_batch_fit_at(fit, point->size)));
    return away <= 1.5 * noise ? 1 : 1.5 * noise / away;
}

void ps_batch_fit_make(struct ps_batch_fit *fit, const struct ps_batch_fit_point *points,
                       size_t count, double noise)
{
    memset(fit, 0, sizeof *fit);
    for (int round = 0; round < ROUNDS; round++) {
        struct system system = {0};
        for (size_t i = 0; i < count; i++) {
            double weight = points[i].weight;
            add_point(&system, &points[i],
                      round == 0 ? weight : weight * trust(fit, &points[i], noise));
        }
        solve(&system, fit);
    }
}

double ps_batch_fit_at(const struct ps_batch_fit *fit, double size)
{
    double terms[PS_BATCH_FIT_TERMS];
    double sum = 0;
    terms_of(size, terms);
    for (int i = 0; i < PS_BATCH_FIT_TERMS; i++) {
        sum += fit->weight[i] * terms[i];
    }
    return fmax(sum, LEAST);
}
