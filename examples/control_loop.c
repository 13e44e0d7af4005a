/* A generated controller in a control loop of fixed rate, on any POSIX system:
 *     cc -std=c99 -O2 -ffp-contract=off -I BUNDLE BUNDLE/policy.c examples/control_loop.c -o loop */
#define _POSIX_C_SOURCE 200112L
#include "policy.h"

#include <stdio.h>
#include <time.h>

#define PERIOD_NS 2000000L /* 500 Hz */
#define STEPS 1000

static policy_state controller;

static long nanoseconds(struct timespec a, struct timespec b)
{
    return ((long)(b.tv_sec - a.tv_sec) * 1000000000L) + (b.tv_nsec - a.tv_nsec);
}

int main(void)
{
    float obs[POLICY_NUM_OBS] = {0.0f}; /* read your sensors into this, raw units */
    float actions[POLICY_NUM_ACTIONS];
    struct timespec release, now;
    long worst = 0, misses = 0, step;
    (void)clock_gettime(CLOCK_MONOTONIC, &release);
    for (step = 0; step < STEPS; ++step) {
        if (policy_actions_or_hold(&controller, obs, actions) != POLICY_OK) {
            (void)printf("step %ld: held or rejected\n", step);
        } /* write the actions to your motors here, or policy_choice(actions) */
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        worst = (nanoseconds(release, now) > worst) ? nanoseconds(release, now) : worst;
        misses += (nanoseconds(release, now) > PERIOD_NS) ? 1 : 0;
        release.tv_nsec += PERIOD_NS;
        release.tv_sec += release.tv_nsec / 1000000000L;
        release.tv_nsec %= 1000000000L;
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &release, NULL);
    }
    (void)printf("%d steps: %ld deadlines missed, worst latency %ld us\n", STEPS, misses,
                 worst / 1000L);
    return 0;
}
