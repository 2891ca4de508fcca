/* What ThingsBoard's users write, as the parameters of raw, which the adapter of Modbus takes. */
#include <string.h>
#include <tpcore/json.h>

#include "modbus_suites.h"
#include "modbus_text.h"
#include "raw.h"

static struct tpc_arena *arena;
static char json[600];

static int make(const char *text, bool set, const char **ret_why)
{
    struct tpc_value v;
    struct tpc_buf out = { (uint8_t *) json, sizeof(json) - 1, 0 };
    int rc = tb_modbus_text(arena, tpc_str_from(text), set, &v, ret_why);
    if (rc == 0) {
        struct tpc_value bus = { .type = TPC_MAP };
        const struct tpc_value *value;
        struct mb_tag tag;
        tk_ok(tpc_json_write(&v, 0, &out));
        json[out.need] = '\0';
        const char *wrong = mb_raw_read(&v, &bus, &tag, &value);
        ck_assert_msg(wrong == NULL, "%s: %s", text, wrong);
        ck_assert((value != NULL) == set);
    }
    return rc;
}

START_TEST(texts_become_parameters_of_raw)
{
    static const struct {
        const char *text, *json;
        bool set;
    } all[] = {
        { "type=16int;functionCode=3;objectsCount=1;address=2;",
          "{\"function\":3,\"address\":2,\"type\":\"int16\"}", false },
        { "type=16int;functionCode=6;objectsCount=1;address=2;value=-5;",
          "{\"function\":6,\"address\":2,\"type\":\"int16\",\"value\":-5}", true },
        { " type = 32float ; functionCode = 4 ; address = 10; wordOrder=LITTLE;byteOrder=BIG",
          "{\"function\":4,\"address\":10,\"type\":\"float32\",\"byte_order\":\"big\","
          "\"word_order\":\"little\"}",
          false },
        { "type=int;functionCode=3;objectsCount=4;address=7",
          "{\"function\":3,\"address\":7,\"type\":\"int64\"}", false },
        { "type=double;functionCode=16;objectsCount=2;address=7;value=1.5",
          "{\"function\":16,\"address\":7,\"type\":\"float32\",\"value\":1.5}", true },
        { "type=bits;functionCode=1;objectsCount=3;address=7",
          "{\"function\":1,\"address\":7,\"type\":\"bits\",\"count\":3}", false },
        { "type=bits;functionCode=5;objectsCount=1;address=7;value=True",
          "{\"function\":5,\"address\":7,\"type\":\"bool\",\"value\":true}", true },
        { "type=16uint;functionCode=15;objectsCount=2;address=7;value=[true,false]",
          "{\"function\":15,\"address\":7,\"type\":\"bits\",\"count\":2,\"value\":[true,false]}",
          true },
        { "type=bits;functionCode=3;objectsCount=1;bit=9;address=7",
          "{\"function\":3,\"address\":7,\"bit\":9}", false },
        { "type=string;functionCode=16;objectsCount=2;address=7;value=true",
          "{\"function\":16,\"address\":7,\"type\":\"string\",\"count\":2,\"value\":\"true\"}",
          true },
        { "type=bytes;functionCode=3;objectsCount=2;address=7;unknown=x;;=;",
          "{\"function\":3,\"address\":7,\"type\":\"hex\",\"count\":2}", false },
        { "type=8uint;functionCode=6;objectsCount=1;address=7;value=3;divider=10;multiplier=2.5",
          "{\"function\":6,\"address\":7,\"type\":\"uint8\",\"byte\":\"high\",\"divider\":10,"
          "\"multiplier\":2.5,\"value\":3}",
          true },
        { "type=8int;functionCode=3;address=7;byteOrder=LITTLE;round=2",
          "{\"function\":3,\"address\":7,\"type\":\"int8\",\"byte\":\"low\",\"byte_order\":"
          "\"little\",\"round\":2}",
          false },
    };
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const char *why = "?";
        ck_assert_msg(make(all[i].text, all[i].set, &why) == 0, "%s: %s", all[i].text, why);
        ck_assert_str_eq(json, all[i].json);
    }
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(texts_that_make_no_request_say_why)
{
    static const struct {
        const char *text, *why;
        bool set;
    } all[] = {
        { "", "functionCode", false },
        { "true", "functionCode", false },
        { "type=16int;functionCode=7;address=2", "functionCode is one of", false },
        { "type=16int;functionCode=3x;address=2", "functionCode is one of", false },
        { "type=16int;functionCode=6;address=2", "writes", false },
        { "type=16int;functionCode=3;address=2;value=5", "reads", true },
        { "type=16int;functionCode=6;address=2", "no value", true },
        { "type=16int;functionCode=6;address=2;value=", "no value", true },
        { "type=16int;functionCode=6;address=2;value=warm", "the value fits", true },
        { "type=16int;functionCode=6;address=2;value=null", "the value fits", true },
        { "type=16int;functionCode=3", "no address", false },
        { "type=16int;functionCode=3;address=-1", "address is a number", false },
        { "type=16int;functionCode=3;address=99999999999999999999", "address is a number", false },
        { "type=17int;functionCode=3;address=2", "no such type", false },
        { "type=int;objectsCount=3;functionCode=3;address=2", "no such type", false },
        { "functionCode=3;address=2", "no such type", false },
        { "type=16int;objectsCount=0;functionCode=3;address=2", "objectsCount", false },
        { "type=16int;byteOrder=MIDDLE;functionCode=3;address=2", "byteOrder and", false },
        { "type=16int;divider=x;functionCode=3;address=2", "divider", false },
        { "type=bit;bit=16;functionCode=3;address=2", "bit is a number", false },
        { "type=averyveryveryveryverylongtype;functionCode=3;address=2", "no such type", false },
    };
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const char *why = "?";
        ck_assert_msg(make(all[i].text, all[i].set, &why) == TPC_EINVAL, "%s", all[i].text);
        ck_assert_msg(strstr(why, all[i].why) != NULL, "%s: %s", all[i].text, why);
    }
    tpc_arena_destroy(arena);
}
END_TEST

static int once(const struct tpc_allocator *a, void *user)
{
    struct tpc_arena *small;
    struct tpc_value v;
    const char *why = "";
    (void) user;
    int rc = tpc_arena_create(a, 0, &small);
    if (rc == 0) {
        rc = tb_modbus_text(
            small, TPC_STR("type=bits;functionCode=15;objectsCount=2;address=7;value=[1,0]"), true,
            &v, &why);
        tpc_arena_destroy(small);
    }
    return rc;
}

START_TEST(without_memory_nothing_is_left)
{
    tk_each_alloc_fails(once, NULL);
}
END_TEST

Suite *modbus_text_suite(void)
{
    Suite *s = suite_create("modbus_text");
    TCase *t = tcase_create("modbus_text");
    tcase_add_test(t, texts_become_parameters_of_raw);
    tcase_add_test(t, texts_that_make_no_request_say_why);
    tcase_add_test(t, without_memory_nothing_is_left);
    suite_add_tcase(s, t);
    return s;
}
