#include "policy_gate.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    (defined(__FINITE_MATH_ONLY__) && (__FINITE_MATH_ONLY__ != 0))
#error "-ffast-math reorders sums and removes the tests for NaN: the certificate would be void"
#endif
/* Besides 0 it may be 16, where only half precision is computed otherwise, or 32 (ISO/IEC TS
 * 18661-3, 5.3). */
#if (FLT_EVAL_METHOD != 0) && (FLT_EVAL_METHOD != 16) && (FLT_EVAL_METHOD != 32)
#error "float must be computed as float (FLT_EVAL_METHOD 0, 16 or 32)"
#endif
#ifdef __cplusplus
#define restrict __restrict /* a word of C99 that C++ does not have */
#endif
/* No product is fused with a sum, whatever the dialect and the processor. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize ("fp-contract=off")
#endif

#define NO_CAUSE 0u

static const float gate_low[11] = {
    0.895924211f, -0.108971149f, -1.01334953f, -0.136956945f, -1.26826334f, -0.630462825f, -3.67040801f, -2.00922704f,
    -4.95530653f, -2.25055194f, -14.0f
};

static const float gate_high[11] = {
    1.65938532f, 0.118403398f, 0.173264697f, 0.0504988246f, 1.22513032f, 3.75256801f, 3.73135018f, 1.89360094f,
    3.35875368f, 3.85303402f, 14.0f
};

static const float gate_action_low[3] = {
    -0.561254621f, -0.220861211f, -1.00000095f
};

static const float gate_action_high[3] = {
    0.549686015f, 0.638542473f, 0.930152118f
};

static uint32_t one_more(uint32_t count)
{
    return (count < 0xffffffffu) ? (count + 1u) : count;
}

static int is_number(float x)
{
    return (x - x == 0.0f) ? 1 : 0; /* NaN for NaN and infinity */
}

static uint32_t broken_time(policy_gate *g, uint32_t now_us, uint32_t taken_us)
{
    (void)g;
    (void)now_us;
    (void)taken_us;
    return NO_CAUSE;
}

static uint32_t is_finite_obs(const float *obs)
{
    uint32_t i;
    for (i = 0u; (i < POLICY_NUM_OBS) && is_number(obs[i]); ++i) {
    }
    return (i == POLICY_NUM_OBS) ? 1u : 0u;
}

/* Remembers the observation as well, so that one loop does. */
static uint32_t broken_sensor(policy_gate *g, const float *obs, uint32_t *index)
{
    uint32_t range_at = POLICY_NUM_OBS;
    uint32_t i;
    for (i = 0u; i < POLICY_NUM_OBS; ++i) {
        const float x = obs[i];
        if (!((x >= gate_low[i]) && (x <= gate_high[i])) && (range_at == POLICY_NUM_OBS)) {
            range_at = i;
        }
        g->last_obs[i] = x;
    }
    if (range_at != POLICY_NUM_OBS) {
        *index = range_at;
        g->has_obs = is_finite_obs(obs);
        return is_number(obs[range_at]) ? POLICY_GATE_RANGE : POLICY_GATE_NOT_FINITE;
    }
    g->has_obs = 1u;
    return NO_CAUSE;
}

/* Remembers the actions as well, so that one loop does. */
static uint32_t broken_action(policy_gate *g, uint32_t *index)
{
    uint32_t range_at = POLICY_NUM_ACTIONS;
    uint32_t i;
    for (i = 0u; i < POLICY_NUM_ACTIONS; ++i) {
        const float a = g->action[i];
        const float change = a - g->last_action[i];
        if (!((a >= gate_action_low[i]) && (a <= gate_action_high[i])) &&
            (range_at == POLICY_NUM_ACTIONS)) {
            range_at = i;
        }
        g->last_change[i] = change;
        g->last_action[i] = a;
    }
    if (range_at != POLICY_NUM_ACTIONS) {
        *index = range_at;
        return POLICY_GATE_ACTION_RANGE;
    }
    return NO_CAUSE;
}

static uint32_t propose(policy_state *s, policy_gate *g, const float *obs, uint32_t *index)
{
    uint32_t i;
    uint32_t cause;
    const int code = policy_actions(s, obs, g->action);
    if (code != POLICY_OK) { /* only an overflow: the observation is finite */
        for (i = 0u; (i < POLICY_NUM_ACTIONS - 1u) && is_number(g->action[i]); ++i) {
        }
        *index = i;
        g->num_compared = 0u;
        return POLICY_GATE_ACTION_NOT_FINITE;
    }
    cause = broken_action(g, index);
    g->num_compared += (g->num_compared < 2u) ? 1u : 0u;
    return cause;
}

static void note(policy_gate *g, uint32_t cause, uint32_t index)
{
    policy_event *event = &g->events[g->next_event];
    event->call = g->num_calls;
    event->cause = cause;
    event->index = index;
    g->next_event = (g->next_event + 1u) % POLICY_GATE_NUM_EVENTS;
    g->num_events = one_more(g->num_events);
    g->is_closed = 1u;
    g->num_good = 0u;
}

static int react(policy_gate *g, const float *obs, float *actions)
{
    g->num_rejected = one_more(g->num_rejected);
    (void)obs;
    if (g->has_given == 0u) {
        return POLICY_GATE_NO_ACTION;
    }
    (void)memcpy(actions, g->given, sizeof g->given);
    return POLICY_GATE_HELD;
}

int policy_gated_actions(policy_state *s, policy_gate *g, const float obs[POLICY_NUM_OBS],
                         uint32_t now_us, uint32_t taken_us, float actions[POLICY_NUM_ACTIONS])
{
    uint32_t index = 0u;
    uint32_t cause;
    uint32_t read_cause;
    g->num_calls = one_more(g->num_calls);
    if (g->is_stopped != 0u) {
        return POLICY_GATE_STOPPED;
    }
    cause = broken_time(g, now_us, taken_us);
    read_cause = broken_sensor(g, obs, &index);
    if (cause != NO_CAUSE) {
        index = 0u;
    } else {
        cause = read_cause;
    }
    if (cause == NO_CAUSE) {
        cause = propose(s, g, obs, &index);
    } else {
        g->num_compared = 0u;
    }
    if (cause != NO_CAUSE) {
        note(g, cause, index);
        return react(g, obs, actions);
    }
    if (g->is_closed != 0u) {
        g->num_good += 1u;
        if (g->num_good < 5u) {
            return react(g, obs, actions);
        }
        g->is_closed = 0u;
    }
    g->num_rejected = 0u;
    g->has_given = 1u;
    (void)memcpy(g->given, g->action, sizeof g->given);
    (void)memcpy(actions, g->action, sizeof g->action);
    return POLICY_GATE_PASSED;
}

void policy_gate_reset(policy_gate *g)
{
    const policy_fallback fallback = g->fallback;
    void *const user = g->user;
    (void)memset(g, 0, sizeof *g);
    g->fallback = fallback;
    g->user = user;
}

#ifdef POLICY_SELF_TEST
#define NUM_TESTS 48u
#define TESTS_PER_RUN 12u
/* Bits of observations, which may be NaN. */

static const uint32_t gate_test_bits[528] = {
    1067770068u, 3121078577u, 3203592992u, 3176542251u, 1030200007u, 1071577266u, 1038093637u, 1023545873u,
    3208843993u, 1065913501u, 1063413601u, 1067363888u, 1012033976u, 3203622408u, 3172953807u, 3184642864u,
    1071394985u, 1031438994u, 3188408033u, 3210530915u, 1057188532u, 3213273129u, 1067791627u, 1006901760u,
    3201305905u, 3174694760u, 1037155078u, 1071827579u, 1043059972u, 980299874u, 3206823921u, 1060881136u,
    3213019147u, 1067824202u, 1001221553u, 3202520869u, 3174180705u, 1033550076u, 2143289344u, 3180931360u,
    3170167001u, 3211937191u, 1062984237u, 3202899671u, 1067612942u, 1012836471u, 3202851679u, 3173489554u,
    3187690358u, 1071282717u, 1048104514u, 3189988488u, 3203953837u, 1057498279u, 3203068237u, 1067458379u,
    996873046u, 3200585475u, 3175464831u, 3188225711u, 1069708727u, 3192213120u, 3193880965u, 3208331973u,
    1059957219u, 1096810497u, 1067489911u, 1014102070u, 3202302404u, 3176094567u, 1009653111u, 1071630208u,
    3160395637u, 1039463395u, 3209453957u, 1061252926u, 1051481735u, 1067999431u, 1014268833u, 3201924410u,
    3172812543u, 3166040046u, 1070167440u, 1048039314u, 3183123932u, 3206181768u, 1064180722u, 1067112870u,
    1067435741u, 1008899463u, 3200063487u, 3171754834u, 3188850098u, 1071396681u, 1053160878u, 1039600622u,
    3213594323u, 1066105792u, 1066123454u, 1067888813u, 999006388u, 3202830913u, 3172590372u, 1034689328u,
    1069199785u, 1030936943u, 3181652131u, 3202432508u, 1057313369u, 1059474771u, 1067755602u, 3150240715u,
    3200892476u, 3176544947u, 1026497406u, 1070106577u, 1051867141u, 3194527122u, 3204691579u, 1057581449u,
    3202298493u, 1067637714u, 1014686764u, 3201517541u, 3175322816u, 3182433451u, 1071486681u, 3190854264u,
    3192995651u, 3212405010u, 1062900504u, 1041962650u, 1067880703u, 1002936483u, 3202607750u, 3174547732u,
    1030524674u, 1070524799u, 1052611567u, 3185494332u, 3208718643u, 1062980389u, 1064937399u, 1067455301u,
    992592851u, 3200133025u, 3176408706u, 1030831576u, 1069748554u, 1049400903u, 3195997193u, 3211334932u,
    1057703716u, 1054525899u, 1067537517u, 1008255831u, 3199998278u, 3175987276u, 1032723152u, 1068439925u,
    3178015336u, 3182331996u, 3209608038u, 1066125420u, 1061526926u, 1067559938u, 3121059018u, 2139095040u,
    3172190699u, 3164261834u, 1069487180u, 1053501688u, 3187982903u, 3213357555u, 1065632030u, 1063248332u,
    1067789876u, 1014500034u, 3200070293u, 3172860248u, 1032586716u, 1069129987u, 3195057682u, 1007434687u,
    3206458859u, 1058609177u, 3197483686u, 1067945096u, 1002981640u, 3201453421u, 3175648561u, 1067241747u,
    1070145830u, 3196857868u, 1040541787u, 3208456630u, 1056963717u, 1061384025u, 1067988652u, 1004371746u,
    3202483283u, 3175681883u, 1018149470u, 1068938652u, 1035217818u, 3163732426u, 3201556370u, 1057638540u,
    3097465990u, 1067838682u, 3140216131u, 3202211000u, 3176308929u, 1024350903u, 1068543991u, 3175169865u,
    1035216828u, 3209838878u, 1065798554u, 1061067777u, 1067948342u, 3145081748u, 3203463234u, 3176271537u,
    1032859558u, 1070552608u, 1021629664u, 3191974481u, 3207029152u, 1060155071u, 1058482336u, 1067656963u,
    1000348285u, 3200611987u, 3176158724u, 3137131429u, 1068946474u, 1048862772u, 3179192841u, 3200823444u,
    1058771896u, 1067840049u, 1067875072u, 999068526u, 3200516952u, 3173591895u, 1015819507u, 1071580705u,
    3197445622u, 1033198284u, 3211101032u, 1060232161u, 1068568359u, 1067862438u, 999277249u, 3202073389u,
    3172209712u, 3187615988u, 1070825970u, 1048206656u, 1030848026u, 3211931369u, 1065056214u, 3208962675u,
    1067594170u, 993660997u, 3201600446u, 3176058748u, 3174522558u, 1068222395u, 1045982631u, 1034082910u,
    3213662897u, 1064105384u, 1063660204u, 1067990934u, 1011701608u, 3202067504u, 3171695646u, 1036377818u,
    1070073186u, 1046432951u, 1037328645u, 3209785221u, 1065548512u, 1058044926u, 1067550374u, 1009842756u,
    3201483885u, 3176153191u, 3175564506u, 1068492417u, 1012020942u, 3182396660u, 3210516266u, 1062902320u,
    3213310536u, 1067960155u, 1007801688u, 3200476152u, 3188473457u, 3125772165u, 1068369162u, 1044348713u,
    3170691662u, 3204905832u, 1062347921u, 1063291019u, 1068000657u, 984401103u, 3203075191u, 3174654518u,
    1026169374u, 1069836226u, 1036280033u, 3192922216u, 3206298380u, 1059766612u, 3210593261u, 1067914800u,
    1003128713u, 3201827044u, 3172102556u, 3187642842u, 1081092628u, 3183893115u, 3191663684u, 3207014294u,
    1060613875u, 3203652736u, 1067966501u, 3138060693u, 3201716854u, 3176504583u, 3185054076u, 1071469402u,
    1048211272u, 3172069876u, 3213080388u, 1062609936u, 3215907008u, 1067818762u, 1008600037u, 3201183829u,
    3173549175u, 3187862688u, 1069127264u, 1034889002u, 3184196161u, 3200730604u, 1065855506u, 3212406996u,
    1067739967u, 1008098678u, 3203212470u, 3175052443u, 1023684063u, 1071534442u, 3182526096u, 3189999639u,
    3204963931u, 1062888827u, 3179692121u, 1067526182u, 3148077963u, 3203684896u, 3173707020u, 3184125662u,
    1071808083u, 3196397366u, 3181163087u, 3210921861u, 1059277432u, 1060261600u, 1067774387u, 1008819935u,
    3203426421u, 3174850420u, 3163040124u, 1069790238u, 3198057905u, 3191176060u, 3202041741u, 1058563268u,
    1065114082u, 1067888662u, 991106851u, 3201897580u, 3172479059u, 1019241751u, 1071298525u, 1046639094u,
    1015672212u, 3202935866u, 1065324177u, 3211136065u, 1067841325u, 3147393245u, 3202060537u, 3174628971u,
    3183755604u, 1071669735u, 3196712799u, 3196094621u, 3211922525u, 1066198547u, 3207113378u, 1067894142u,
    3140617803u, 3201421399u, 3171802723u, 1023723913u, 1071826375u, 1034906745u, 1040578246u, 3204751143u,
    1064867889u, 1066089498u, 1067766565u, 985535821u, 3201652715u, 3175485672u, 1027808804u, 1068846626u,
    1035169144u, 3174263310u, 3207054687u, 1064686008u, 3213612659u, 1067762370u, 993319958u, 3201310618u,
    3173133303u, 3112480877u, 1070915931u, 1027179895u, 3180598451u, 1079440850u, 1059245075u, 1057750552u,
    1067807694u, 3138433334u, 3199886649u, 3173248202u, 3160527493u, 1071314084u, 1017635505u, 3179913437u,
    3212824257u, 1058497381u, 1058517132u, 1067902735u, 1007649059u, 3202287627u, 3173728397u, 3149698771u,
    1071664812u, 1081003634u, 3191942023u, 3203941321u, 1065706938u, 3215058640u, 1067489084u, 1006635502u,
    3200615254u, 3173572554u, 3184109635u, 1068653829u, 1024387787u, 1032177981u, 3213117953u, 1057667903u,
    1041390385u, 1067484981u, 3148333562u, 3200677290u, 3172493023u, 3175098989u, 1069302536u, 3188308483u,
    3185936076u, 3208379744u, 1062303475u, 3201261333u, 1067770363u, 1007599466u, 3201533280u, 3174676558u,
    1008259497u, 1070397570u, 3182667045u, 3188316648u, 3208814368u, 1063168987u, 1050597172u, 1067607318u,
    1003195173u, 3199831176u, 3174471608u, 1031994817u, 1068520297u, 1050529068u, 1038788476u, 3212774186u,
    1057022455u, 3175276420u, 1067479150u, 1014822731u, 3200181842u, 3171791373u, 999159254u, 1070115407u,
    1049473272u, 987218696u, 3212898328u, 1065909475u, 3190613196u, 1067857549u, 1000029343u, 3203026079u,
    3175136320u, 3141891419u, 1068747073u, 3198725494u, 3182116327u, 3205795200u, 1063187578u, 3204192912u
};

static const uint32_t gate_test_time[96] = {
    4294917296u, 4294917296u, 4294927296u, 4294927296u, 4294937296u, 4294937296u, 4294947296u, 4294947296u,
    4294957296u, 4294957296u, 0u, 0u, 10000u, 10000u, 20000u, 20000u,
    30000u, 30000u, 40000u, 40000u, 50000u, 50000u, 60000u, 60000u,
    4294917296u, 4294917296u, 4294927296u, 4294927296u, 4294937296u, 4294937296u, 4294947296u, 4294947296u,
    4294957296u, 4294957296u, 0u, 0u, 10000u, 10000u, 20000u, 20000u,
    30000u, 30000u, 40000u, 40000u, 50000u, 50000u, 60000u, 60000u,
    4294917296u, 4294917296u, 4294927296u, 4294927296u, 4294937296u, 4294937296u, 4294947296u, 4294947296u,
    4294957296u, 4294957296u, 0u, 0u, 10000u, 10000u, 20000u, 20000u,
    30000u, 30000u, 40000u, 40000u, 50000u, 50000u, 60000u, 60000u,
    4294917296u, 4294917296u, 4294927296u, 4294927296u, 4294937296u, 4294937296u, 4294947296u, 4294947296u,
    4294957296u, 4294957296u, 0u, 0u, 10000u, 10000u, 20000u, 20000u,
    30000u, 30000u, 40000u, 40000u, 50000u, 50000u, 60000u, 60000u
};

static const uint8_t gate_test_code[48] = {
    0u, 0u, 0u, 1u, 1u, 1u, 1u, 1u,
    1u, 1u, 0u, 0u, 0u, 0u, 0u, 1u,
    1u, 1u, 1u, 1u, 1u, 1u, 0u, 0u,
    0u, 0u, 0u, 0u, 0u, 1u, 1u, 1u,
    1u, 1u, 0u, 0u, 0u, 0u, 0u, 0u,
    0u, 1u, 1u, 1u, 1u, 1u, 0u, 0u
};

static const float gate_test_actions[144] = {
    -0.00506813219f, 0.10076952f, 0.0304550827f, 0.0505599864f, 0.209399477f, -0.269029796f, -0.0309789255f, 0.140013725f,
    0.00521698594f, -0.0309789255f, 0.140013725f, 0.00521698594f, -0.0309789255f, 0.140013725f, 0.00521698594f, -0.0309789255f,
    0.140013725f, 0.00521698594f, -0.0309789255f, 0.140013725f, 0.00521698594f, -0.0309789255f, 0.140013725f, 0.00521698594f,
    -0.0309789255f, 0.140013725f, 0.00521698594f, -0.0309789255f, 0.140013725f, 0.00521698594f, 0.199667752f, 0.202365607f,
    0.0705140755f, 0.0716558471f, 0.125333935f, -0.0474942327f, 0.071529828f, 0.148801386f, 0.0822190046f, 0.215263665f,
    0.163028702f, 0.0815150887f, 0.102624446f, -0.0294130612f, 0.171684697f, 0.102624446f, -0.0294130612f, 0.171684697f,
    0.102624446f, -0.0294130612f, 0.171684697f, 0.102624446f, -0.0294130612f, 0.171684697f, 0.102624446f, -0.0294130612f,
    0.171684697f, 0.102624446f, -0.0294130612f, 0.171684697f, 0.102624446f, -0.0294130612f, 0.171684697f, 0.102624446f,
    -0.0294130612f, 0.171684697f, -0.0166108999f, 0.0852636173f, 0.109723017f, -0.00683641806f, 0.0926947743f, -0.0474106222f,
    0.0819242373f, 0.0326709785f, 0.144888863f, -0.0459727757f, 0.052778326f, 0.137287453f, 0.102624774f, 0.057565935f,
    0.0201135278f, 0.135087609f, 0.145967796f, 0.220508963f, 0.129574865f, 0.176743835f, 0.0672245696f, 0.129574865f,
    0.176743835f, 0.0672245696f, 0.129574865f, 0.176743835f, 0.0672245696f, 0.129574865f, 0.176743835f, 0.0672245696f,
    0.129574865f, 0.176743835f, 0.0672245696f, 0.129574865f, 0.176743835f, 0.0672245696f, 0.0822888017f, 0.178595513f,
    0.0969847888f, -0.0226372331f, 0.102626756f, 0.00240050256f, 0.140874892f, 0.0898856223f, -0.0863910243f, -0.0390432738f,
    0.0824460685f, 0.108800627f, 0.0860735029f, 0.0459478423f, 0.09282884f, 0.0426427275f, 0.307621539f, 0.257849425f,
    0.105116896f, 0.132175207f, 0.0949888676f, 0.105116896f, 0.132175207f, 0.0949888676f, 0.105116896f, 0.132175207f,
    0.0949888676f, 0.105116896f, 0.132175207f, 0.0949888676f, 0.105116896f, 0.132175207f, 0.0949888676f, 0.105116896f,
    0.132175207f, 0.0949888676f, 0.000633153133f, 0.033518631f, 0.00322882086f, 0.0731985718f, 0.0634112433f, 0.11900188f
};

static const uint32_t gate_test_event[192] = {
    0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
    0u, 0u, 0u, 0u, 1u, 4u, 4u, 5u,
    1u, 4u, 4u, 5u, 2u, 6u, 5u, 10u,
    2u, 6u, 5u, 10u, 2u, 6u, 5u, 10u,
    2u, 6u, 5u, 10u, 2u, 6u, 5u, 10u,
    2u, 6u, 5u, 10u, 2u, 6u, 5u, 10u,
    0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
    0u, 0u, 0u, 0u, 1u, 4u, 4u, 2u,
    1u, 4u, 4u, 2u, 2u, 6u, 5u, 4u,
    2u, 6u, 5u, 4u, 2u, 6u, 5u, 4u,
    2u, 6u, 5u, 4u, 2u, 6u, 5u, 4u,
    2u, 6u, 5u, 4u, 2u, 6u, 5u, 4u,
    0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
    0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
    0u, 0u, 0u, 0u, 1u, 6u, 5u, 5u,
    1u, 6u, 5u, 5u, 1u, 6u, 5u, 5u,
    1u, 6u, 5u, 5u, 1u, 6u, 5u, 5u,
    1u, 6u, 5u, 5u, 1u, 6u, 5u, 5u,
    0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
    0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
    0u, 0u, 0u, 0u, 1u, 6u, 5u, 6u,
    1u, 6u, 5u, 6u, 1u, 6u, 5u, 6u,
    1u, 6u, 5u, 6u, 1u, 6u, 5u, 6u,
    1u, 6u, 5u, 6u, 1u, 6u, 5u, 6u
};

static void test_fallback(void *user, const float *obs, float *actions)
{
    uint32_t i;
    (void)user;
    (void)obs;
    for (i = 0u; i < POLICY_NUM_ACTIONS; ++i) {
        actions[i] = 0.5f;
    }
}

static int same_events(const policy_gate *g, const uint32_t *known)
{
    const policy_event *last = &g->events[(g->next_event + POLICY_GATE_NUM_EVENTS - 1u) %
                                          POLICY_GATE_NUM_EVENTS];
    return ((g->num_events == known[0]) && (last->call == known[1]) && (last->cause == known[2]) &&
            (last->index == known[3])) ? 1 : 0;
}

int policy_gate_self_test(policy_state *s, policy_gate *g)
{
    const policy_fallback fallback = g->fallback;
    float obs[POLICY_NUM_OBS];
    float actions[POLICY_NUM_ACTIONS] = {0.0f};
    uint32_t i;
    int wrong = 0;
    g->fallback = test_fallback;
    for (i = 0u; (i < NUM_TESTS) && (wrong == 0); ++i) {
        const uint32_t *time = &gate_test_time[2u * i];
        int code;
        if (i % TESTS_PER_RUN == 0u) {
            policy_gate_reset(g);
        }
        (void)memcpy(obs, &gate_test_bits[i * POLICY_NUM_OBS], sizeof obs);
        code = policy_gated_actions(s, g, obs, time[0], time[1], actions);
        if ((code != (int)gate_test_code[i]) || !same_events(g, &gate_test_event[4u * i]) ||
            (memcmp(actions, &gate_test_actions[i * POLICY_NUM_ACTIONS], sizeof actions) != 0)) {
            wrong = (int)i + 1;
        }
    }
    g->fallback = fallback;
    policy_gate_reset(g);
    return wrong;
}
#endif
