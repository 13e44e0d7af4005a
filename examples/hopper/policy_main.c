/* For a PC: `cc -std=c99 -O2 -ffp-contract=off -DPOLICY_SELF_TEST policy.c policy_main.c`.
 *
 * Without arguments it runs the self-test and times calls. With `-` it reads observations from
 * standard input, POLICY_NUM_OBS numbers each, and writes the actions of each on a line. */
#include "policy.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define NUM_CALLS 100000

static policy_state state;

static int answer(void)
{
    float obs[POLICY_NUM_OBS];
    float actions[POLICY_NUM_ACTIONS];
    int i = 0;
    int j;
    while (scanf("%f", &obs[i]) == 1) {
        i = (i + 1) % POLICY_NUM_OBS;
        if (i == 0) {
            const int code = policy_actions(&state, obs, actions);
            if (code != POLICY_OK) {
                (void)printf("error %d\n", code);
                continue;
            }
            for (j = 0; j < POLICY_NUM_ACTIONS; ++j) {
                (void)printf("%.9g%c", (double)actions[j],
                             (j == POLICY_NUM_ACTIONS - 1) ? '\n' : ' ');
            }
        }
    }
    return 0;
}

static void time_calls(void)
{
    static float obs[64][POLICY_NUM_OBS];
    float actions[POLICY_NUM_ACTIONS];
    unsigned long seed = 1u;
    clock_t start;
    int i;
    int j;
    for (i = 0; i < 64; ++i) {
        for (j = 0; j < POLICY_NUM_OBS; ++j) {
            seed = (seed * 1103515245u + 12345u) & 0x7fffffffu;
            obs[i][j] = (float)(seed >> 8) / 8388608.0f * 4.0f - 2.0f;
        }
    }
    start = clock();
    for (i = 0; i < NUM_CALLS; ++i) {
        (void)policy_actions(&state, obs[i % 64], actions);
    }
    (void)printf("mean time of a call: %.4f us\n",
                 (double)(clock() - start) * 1e6 / CLOCKS_PER_SEC / NUM_CALLS);
}

int main(int argc, char **argv)
{
    float largest;
    const int code = policy_self_test(&state, &largest);
    if ((argc > 1) && (strcmp(argv[1], "-") == 0)) {
        return (code == POLICY_OK) ? answer() : code;
    }
    (void)printf("self-test: %s (%d), largest difference %.9g\n",
                 (code == POLICY_OK) ? "same bits" : "FAILED", code, (double)largest);
    if (code == POLICY_OK) {
        time_calls();
    }
    return code;
}
