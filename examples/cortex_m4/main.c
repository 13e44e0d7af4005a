/* The generated controller on an emulated Cortex-M4: self-test, stack, actions and instructions of
 * calls.
 *
 *   arm-none-eabi-gcc -std=c99 -O2 -ffp-contract=off -mcpu=cortex-m4 -mthumb -mfloat-abi=hard
 *       -mfpu=fpv4-sp-d16 --specs=rdimon.specs -nostartfiles -T link.ld -DPOLICY_SELF_TEST
 *       -I BUNDLE BUNDLE/policy.c main.c -o policy.elf
 *   (a controller behind its gate: -DPOLICY_GATE BUNDLE/policy_gate.c as well)
 *   qemu-system-arm -M mps2-an386 -cpu cortex-m4 -nographic -semihosting-config
 *       enable=on,target=native -icount shift=6 -kernel policy.elf
 *
 * With -icount shift=6 an instruction takes 64 ns of virtual time; SysTick counts it at 25 MHz, 1.6
 * ticks each. These are instructions, not cycles: an emulator knows no time. */
#ifdef POLICY_GATE
#include "policy_gate.h"
#else
#include "policy.h"
#endif

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
#define CPACR (*(volatile uint32_t *)0xE000ED88u)

extern uint32_t data_start, data_end, data_source, bss_start, bss_end, stack_top;
extern void initialise_monitor_handles(void);
extern void _exit(int code);
void reset(void);
static void fault(void);

struct vectors {
    uint32_t *stack;
    void (*handlers[15])(void);
};

__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
    &stack_top, {reset, fault, fault, fault, fault, fault}
};

static policy_state state;
#ifdef POLICY_GATE
static policy_gate gate;
#endif

static int actions_at(const float *obs, uint32_t call, float *actions)
{
#ifdef POLICY_GATE
    return policy_gated_actions(&state, &gate, obs, call * 10000u, call * 10000u, actions);
#else
    (void)call;
    return policy_actions(&state, obs, actions);
#endif
}

static void fault(void)
{
    for (;;) {
    }
}

/* Bytes of stack below the caller that a call of the controller takes: paint, call, look. */
static unsigned long stack_of_a_call(void)
{
    float obs[POLICY_NUM_OBS] = {0.0f};
    float actions[POLICY_NUM_ACTIONS];
    volatile uint32_t *top;
    volatile uint32_t *place;
    __asm volatile("mov %0, sp" : "=r"(top));
    for (place = top - 1024; place < top; ++place) {
        *place = 0xA5A5A5A5u;
    }
    (void)policy_actions_or_hold(&state, obs, actions);
    for (place = top - 1024; (place < top) && (*place == 0xA5A5A5A5u); ++place) {
    }
    return (unsigned long)((uintptr_t)top - (uintptr_t)place);
}

static float stimulus(uint32_t *seed)
{
    *seed = (*seed * 1664525u) + 1013904223u;
    return ((float)(*seed >> 8) / 8388608.0f) - 1.0f;
}

static void print_bits(const float *actions)
{
    int i;
    for (i = 0; i < POLICY_NUM_ACTIONS; ++i) {
        uint32_t bits;
        (void)memcpy(&bits, &actions[i], sizeof bits);
        (void)printf(" %08lx", (unsigned long)bits);
    }
}

int main(void)
{
    float obs[POLICY_NUM_OBS];
    float actions[POLICY_NUM_ACTIONS];
    float largest;
    uint32_t seed = 1u;
    int call;
    int i;
    (void)printf("self-test %d\n", policy_self_test(&state, &largest));
#ifdef POLICY_GATE
    (void)printf("gate self-test %d\n", policy_gate_self_test(&state, &gate));
#endif
    (void)printf("stack %lu\n", stack_of_a_call());
    SYST_RVR = 0x00FFFFFFu;
    SYST_CVR = 0u;
    SYST_CSR = 5u; /* on, processor clock, no interrupt */
    for (call = 0; call < 8; ++call) {
        uint32_t start;
        uint32_t ticks;
        int code;
        for (i = 0; i < POLICY_NUM_OBS; ++i) {
            obs[i] = 3.0f * stimulus(&seed);
        }
        start = SYST_CVR;
        code = actions_at(obs, (uint32_t)call, actions);
        ticks = (start - SYST_CVR) & 0x00FFFFFFu;
        (void)printf("call %d code %d instructions %lu bits", call, code,
                     (unsigned long)(ticks * 5u / 8u));
        print_bits(actions);
        (void)printf("\n");
    }
    return fflush(stdout);
}

void reset(void)
{
    uint32_t *to = &data_start;
    const uint32_t *from = &data_source;
    while (to < &data_end) {
        *to++ = *from++;
    }
    for (to = &bss_start; to < &bss_end; ++to) {
        *to = 0u;
    }
    CPACR |= 0xFu << 20; /* the FPU is off after reset */
    __asm volatile("dsb\n isb");
    initialise_monitor_handles();
    _exit(main());
}
