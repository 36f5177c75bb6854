#include "gpu/batch_fit.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { ROUNDS = 4, TERMS = PS_BATCH_FIT_TERMS, STEPS = 3 * TERMS, PLAIN_TERMS = 2, FIRST_KNEE = 7 };

#define ASKED 0.0002 /* of a term beyond the first two: how much of the fit it has to be worth */
#define LEAST 1e-12
#define RIDGE 1e-9 /* of a term's own square: terms may be alike on all sizes that were seen */
#define MEANT 1e-9 /* a gain below this is none */

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

/* A bit for each term that is in use: the others are 0. */
typedef unsigned chosen;

static bool has(chosen terms, int term)
{
    return (terms >> term & 1u) != 0;
}

/* Solves for the chosen terms alone: elimination, the matrix is positive definite. */
static void solve_chosen(const struct system *system, chosen terms, double *weight)
{
    double rows[TERMS][TERMS + 1];
    int at[TERMS];
    int count = 0;
    for (int i = 0; i < TERMS; i++) {
        at[count] = i;
        count += has(terms, i) ? 1 : 0;
        weight[i] = 0;
    }
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < count; j++) {
            rows[i][j] = system->matrix[at[i]][at[j]] * (i == j ? 1 + RIDGE : 1);
        }
        rows[i][count] = system->right[at[i]];
        for (int k = 0; k < i; k++) {
            double factor = rows[i][k] / rows[k][k];
            for (int j = k; j <= count; j++) {
                rows[i][j] -= factor * rows[k][j];
            }
        }
    }
    for (int i = count - 1; i >= 0; i--) {
        double sum = rows[i][count];
        for (int j = i + 1; j < count; j++) {
            sum -= rows[i][j] * weight[at[j]];
        }
        weight[at[i]] = sum / rows[i][i];
    }
}

/* The term whose use would gain most; TERMS: none gains. */
static int most_wanted(const struct system *system, chosen terms, const double *weight)
{
    int found = TERMS;
    double most = MEANT * sqrt(system->weight);
    for (int i = 0; i < TERMS; i++) {
        double gain = system->right[i];
        for (int j = 0; j < TERMS; j++) {
            gain -= system->matrix[i][j] * weight[j];
        }
        gain /= sqrt(system->matrix[i][i] + LEAST * LEAST);
        if (!has(terms, i) && system->matrix[i][i] > 0 && gain > most) {
            most = gain;
            found = i;
        }
    }
    return found;
}

/* Goes from the old weights towards the new ones until the first would be negative; that one is
 * left out. False: none is. */
static bool drop_negative(chosen *terms, double *weight, const double *wanted)
{
    double part = 1;
    int first = TERMS;
    for (int i = 0; i < TERMS; i++) {
        if (has(*terms, i) && wanted[i] < 0 && weight[i] / (weight[i] - wanted[i]) < part) {
            part = weight[i] / (weight[i] - wanted[i]);
            first = i;
        }
    }
    for (int i = 0; i < TERMS; i++) {
        weight[i] += part * (wanted[i] - weight[i]);
    }
    if (first == TERMS) {
        return false;
    }
    weight[first] = 0;
    *terms &= ~(1u << first);
    return true;
}

/* Least squares with no negative weight (Lawson and Hanson, "Solving Least Squares Problems",
 * chapter 23): terms are taken in, the most promising first, and left out when they would turn
 * negative. */
static void solve(struct system *system, struct ps_batch_fit *fit)
{
    chosen terms = 0;
    double wanted[TERMS];
    memset(fit, 0, sizeof *fit);
    for (int i = PLAIN_TERMS; i < TERMS; i++) {
        system->right[i] -= ASKED * sqrt(system->matrix[i][i] * system->weight);
    }
    for (int step = 0; step < STEPS; step++) {
        int term = most_wanted(system, terms, fit->weight);
        if (term == TERMS) {
            return;
        }
        terms |= 1u << term;
        do {
            solve_chosen(system, terms, wanted);
        } while (drop_negative(&terms, fit->weight, wanted));
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
