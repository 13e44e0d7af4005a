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
    0.732325435f, -0.157694265f, -1.26762402f, -0.177126035f, -1.802562f, -1.56968367f, -5.25649929f, -2.84554744f,
    -6.73689079f, -3.5584631f, -20.0f
};

static const float gate_high[11] = {
    1.8229841f, 0.167126521f, 0.42753917f, 0.0906679183f, 1.75942898f, 4.69178915f, 5.31744146f, 2.72992134f,
    5.14033794f, 5.16094542f, 20.0f
};

static const float gate_action_low[3] = {
    -0.799313366f, -0.405019134f, -1.00000095f
};

static const float gate_action_high[3] = {
    0.787744701f, 0.822700381f, 1.00000095f
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
    1067807661u, 3140812101u, 3204376279u, 3177584888u, 1035492465u, 1072227668u, 1041410594u, 1032824482u,
    3208583203u, 1066868187u, 1067562895u, 1067227403u, 1015397572u, 3204418301u, 3172458541u, 3188482902u,
    1071967266u, 1033384155u, 3190656248u, 3210993091u, 1053272406u, 3217055217u, 1067838459u, 1008441839u,
    3201109012u, 3174945616u, 1042236844u, 1072585257u, 1047009819u, 1020631897u, 3205697386u, 1060393656u,
    3216692386u, 1067884995u, 1001752136u, 3202844674u, 3174211251u, 1039136293u, 2143289344u, 3186985916u,
    3163743678u, 3212919460u, 1063398087u, 3206937242u, 1067583194u, 1015970783u, 3203317259u, 3173223892u,
    3190673482u, 1071806882u, 1051396154u, 3192914041u, 3199452588u, 1054157397u, 3207057646u, 1067362390u,
    994794624u, 3200079825u, 3176045717u, 3191438271u, 1069558326u, 3197345435u, 3197267185u, 3207851746u,
    1059073774u, 1101004801u, 1067407436u, 1016874782u, 3202532582u, 3176945341u, 1019744259u, 1072303299u,
    3171249167u, 1044928127u, 3209454580u, 1060924785u, 1056322168u, 1068135322u, 1016993899u, 3201992589u,
    3172256734u, 3166187906u, 1070213630u, 1051349582u, 3185039891u, 3204780024u, 1065107350u, 1071462125u,
    1067330051u, 1011295700u, 3199334128u, 3170597620u, 3192330253u, 1071969689u, 1057623682u, 1045026146u,
    3214644168u, 1067142888u, 1070048674u, 1067977296u, 998587615u, 3203287594u, 3171939348u, 1040475594u,
    1068831266u, 1033025547u, 3182937319u, 3197279261u, 1053629085u, 1064145672u, 1067786994u, 3157113470u,
    3200518398u, 3177588740u, 1032847750u, 1070126683u, 1056434560u, 3197728726u, 3200854109u, 1054395026u,
    3206507828u, 1067618583u, 1017292421u, 3201411349u, 3175842839u, 3186138460u, 1072098261u, 3196374823u,
    3196634818u, 3213253617u, 1063278468u, 1046318593u, 1067965711u, 1004202036u, 3202968790u, 3174735576u,
    1035724370u, 1070724143u, 1057231317u, 3188048609u, 3208404131u, 1063392589u, 1068651322u, 1067357993u,
    987504374u, 3199433469u, 3177394110u, 1035943585u, 1069615222u, 1052911362u, 3198778777u, 3212141686u,
    1054744361u, 1058817791u, 1067475445u, 1010376227u, 3199240972u, 3176792068u, 1037954974u, 1067745751u,
    3183725236u, 3183908555u, 3209674696u, 1067170928u, 1066215269u, 1067507475u, 3140805115u, 2139095040u,
    3171368386u, 3163647604u, 1069241830u, 1057867118u, 3190048918u, 3214305929u, 1066466084u, 1067444845u,
    1067835957u, 1017159042u, 3199343850u, 3172324884u, 1037760065u, 1068731555u, 3199377265u, 1024954862u,
    3205175868u, 1057148000u, 3201689106u, 1068057700u, 1004266546u, 3201319748u, 3176308188u, 1071723769u,
    1070182759u, 3201233269u, 1045951547u, 3208029826u, 1052631352u, 1066113197u, 1068119923u, 1006252412u,
    3202790980u, 3176355791u, 1025728739u, 1068458218u, 1038525482u, 3126087798u, 3195995622u, 1054558144u,
    3101948096u, 1067905680u, 3149726546u, 3202402004u, 3177251571u, 1030830282u, 1067894417u, 3181692757u,
    1041894865u, 3210004466u, 1066703975u, 1065887306u, 1068062337u, 3153201988u, 3204190909u, 3177198155u,
    1038149840u, 1070763871u, 1021045805u, 3195751173u, 3205990573u, 1059356420u, 1062727908u, 1067646082u,
    1000504610u, 3200117699u, 3177036993u, 1003786895u, 1068469393u, 1052142603u, 3179488041u, 3193901548u,
    1057380456u, 1072500952u, 1067957665u, 998676383u, 3199981936u, 3173370095u, 1024064480u, 1072232580u,
    3202072918u, 1040453048u, 3211807543u, 1059466548u, 1073541396u, 1067939617u, 998974559u, 3202205417u,
    3171395547u, 3190606562u, 1071154388u, 1051469113u, 1038040306u, 3212915302u, 1065855635u, 3213664704u,
    1067556377u, 990205982u, 3201529784u, 3176894170u, 3177191755u, 1067434995u, 1049880523u, 1041084924u,
    3214742131u, 1064999725u, 1067739040u, 1068123183u, 1015160167u, 3202197009u, 3170428510u, 1041681659u,
    1070078981u, 1050202180u, 1043403306u, 3209927814u, 1066346773u, 1062103037u, 1067493812u, 1012643262u,
    3201363268u, 3177029088u, 3178680252u, 1067820740u, 1001173358u, 3184000932u, 3210972164u, 1063281061u,
    3217108657u, 1068079213u, 1009727451u, 3199923649u, 3191169159u, 1006954562u, 1067644662u, 1048713439u,
    3164493195u, 3201466259u, 1062489063u, 1067475336u, 1068137073u, 3104890790u, 3203636563u, 3174888128u,
    1032613441u, 1069740467u, 1040042932u, 3196582365u, 3204946612u, 1058801479u, 3214829408u, 1068014420u,
    1004476651u, 3201853495u, 3171242468u, 3190625743u, 1083581220u, 3189444017u, 3195307178u, 3205969347u,
    1060011854u, 3207475145u, 1068088279u, 3148186948u, 3201696081u, 3177531078u, 3188776624u, 1072073576u,
    1051472410u, 3168142145u, 3213909976u, 1062863370u, 3220817902u, 1067877223u, 1010867949u, 3200934617u,
    3173309066u, 3190919668u, 1068727664u, 1038055745u, 3186571647u, 3193636292u, 1066785336u, 3216124933u,
    1067764659u, 1010151722u, 3203832675u, 3175456592u, 1029877654u, 1072166489u, 3188467575u, 3192929970u,
    3201632257u, 1063261786u, 3183462819u, 1067459252u, 3155568647u, 3204477913u, 3173534559u, 3188113472u,
    1072557406u, 3200575409u, 3182238684u, 3211551585u, 1058102650u, 1065269714u, 1067813830u, 1011182089u,
    3204138320u, 3175167988u, 3161299390u, 1069674770u, 3202947607u, 3194610572u, 3196721022u, 1057082416u,
    1068777524u, 1067977080u, 983258660u, 3201954261u, 3171780328u, 1026508940u, 1071829466u, 1050349425u,
    1028129209u, 3197998344u, 1066047037u, 3215217125u, 1067909456u, 3155079563u, 3202187056u, 3174851631u,
    3187849145u, 1072359766u, 3201026028u, 3198873349u, 3212908985u, 1067275394u, 3211850691u, 1067984909u,
    3150013455u, 3201274003u, 3170734445u, 1029934583u, 1072583538u, 1038081092u, 1046003631u, 3201024293u,
    1065721116u, 1070000165u, 1067802656u, 945030568u, 3201604454u, 3176075491u, 1033784462u, 1068326753u,
    1038455948u, 3172651462u, 3206027051u, 1065591201u, 3217540260u, 1067796663u, 989581822u, 3201115745u,
    3172714963u, 1007780512u, 1071282903u, 1028885098u, 3181432061u, 1084521894u, 1058056426u, 1061682502u,
    1067861411u, 3148453120u, 3199081503u, 3172879104u, 3156945762u, 1071851692u, 1015339864u, 3180453470u,
    3213553079u, 1056988291u, 1062777617u, 1067997184u, 1009509409u, 3202511471u, 3173565097u, 981848471u,
    1072352733u, 1084893308u, 3195704805u, 3199434707u, 1066573096u, 3219605947u, 1067406255u, 1008061471u,
    3200122367u, 3173342465u, 3188102024u, 1068051328u, 1024896373u, 1039261128u, 3213963640u, 1054642037u,
    1045501071u, 1067400393u, 3155751217u, 3200210989u, 3171800278u, 3178015227u, 1068978053u, 3193053169u,
    3188364140u, 3207919990u, 1062425569u, 3205767000u, 1067808081u, 1009438561u, 3201433833u, 3174919613u,
    1018748821u, 1070542387u, 3188568253u, 3190525697u, 3208540881u, 1063662014u, 1055058507u, 1067575160u,
    1004571593u, 3199002256u, 3174626827u, 1036914496u, 1067860568u, 1054523027u, 1044446043u, 3213517314u,
    1052797901u, 3180016113u, 1067392063u, 1017389540u, 3199503207u, 3170702017u, 1014814087u, 1070139297u,
    1053014747u, 1021197539u, 3213649890u, 1066862435u, 3195469238u, 1067932633u, 1000048979u, 3203566402u,
    3175576416u, 1000461175u, 1068184534u, 3203901306u, 3183600457u, 3204007312u, 1063688573u, 3207860985u
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
    -0.0252733417f, 0.098275274f, 0.0302969962f, 0.0536652952f, 0.241150543f, -0.456598848f, -0.0725110546f, 0.158194244f,
    -0.0162541568f, -0.0725110546f, 0.158194244f, -0.0162541568f, -0.0725110546f, 0.158194244f, -0.0162541568f, -0.0725110546f,
    0.158194244f, -0.0162541568f, -0.0725110546f, 0.158194244f, -0.0162541568f, -0.0725110546f, 0.158194244f, -0.0162541568f,
    -0.0725110546f, 0.158194244f, -0.0162541568f, -0.0725110546f, 0.158194244f, -0.0162541568f, 0.253082007f, 0.247368097f,
    0.0732598752f, 0.0800698027f, 0.133593053f, -0.0828028843f, 0.0769528002f, 0.165685624f, 0.0921042711f, 0.278049111f,
    0.193097621f, 0.0964273885f, 0.119185656f, -0.0841708854f, 0.213271424f, 0.119185656f, -0.0841708854f, 0.213271424f,
    0.119185656f, -0.0841708854f, 0.213271424f, 0.119185656f, -0.0841708854f, 0.213271424f, 0.119185656f, -0.0841708854f,
    0.213271424f, 0.119185656f, -0.0841708854f, 0.213271424f, 0.119185656f, -0.0841708854f, 0.213271424f, 0.119185656f,
    -0.0841708854f, 0.213271424f, -0.0492345728f, 0.080413036f, 0.114758328f, -0.0345523208f, 0.0881837904f, -0.096171625f,
    0.090586178f, 0.00472186971f, 0.183469445f, -0.0831904635f, 0.0339196138f, 0.16081363f, 0.121552706f, 0.0390274078f,
    -0.00483248383f, 0.148540273f, 0.178628474f, 0.276039064f, 0.155977681f, 0.208829254f, 0.0744870007f, 0.155977681f,
    0.208829254f, 0.0744870007f, 0.155977681f, 0.208829254f, 0.0744870007f, 0.155977681f, 0.208829254f, 0.0744870007f,
    0.155977681f, 0.208829254f, 0.0744870007f, 0.155977681f, 0.208829254f, 0.0744870007f, 0.0908945054f, 0.216815785f,
    0.108918242f, -0.0573506728f, 0.105212718f, -0.0243696272f, 0.177617416f, 0.0868826807f, -0.139878452f, -0.071040459f,
    0.0767906234f, 0.125541881f, 0.0974801704f, 0.0245419107f, 0.108981133f, 0.0806285143f, 0.331175953f, 0.333241224f,
    0.12353716f, 0.146395877f, 0.108550087f, 0.12353716f, 0.146395877f, 0.108550087f, 0.12353716f, 0.146395877f,
    0.108550087f, 0.12353716f, 0.146395877f, 0.108550087f, 0.12353716f, 0.146395877f, 0.108550087f, 0.12353716f,
    0.146395877f, 0.108550087f, -0.024424661f, 0.0111326408f, -0.0233624056f, 0.077703543f, 0.048543416f, 0.147449449f
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
