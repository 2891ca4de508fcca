"""Plays docs/guide/rule-test.md: the page's rule and messages, and what tp-tool tells of them.

usage: rule_test_md.py SOURCE_DIR TP_TOOL
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

CONFIG = """
store: {type: memory}
entities:
  - {kind: product, key: thermo, codec: json, model: {properties: [{id: temperature, type: double}]}}
  - {kind: product, key: fan, codec: json, model: {properties: [{id: on, type: bool, access: rw}]}}
  - {kind: device, key: t1, product: thermo}
  - {kind: device, key: fan-1, product: fan}
"""


def run(tool, folder, *more):
    command = [tool, 'rule-test', 'platform.yaml', 'hot.yaml', 'messages.yaml', '--files', *more]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def main():
    source, tool = pathlib.Path(sys.argv[1]), str(pathlib.Path(sys.argv[2]).resolve())
    page = (source / 'docs/guide/rule-test.md').read_text(encoding='utf-8')
    rule, messages = re.findall(r'```yaml\n(.*?)```', page, re.S)[:2]
    told = re.search(r'\n    \$ tp-tool rule-test [^\n]*\n((?:    [^\n]*\n)+)', page).group(1)
    want = ''.join(line[4:] + '\n' for line in told.splitlines())
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / 'platform.yaml').write_text(CONFIG, encoding='utf-8')
        (folder / 'hot.yaml').write_text(rule, encoding='utf-8')
        (folder / 'messages.yaml').write_text(messages, encoding='utf-8')
        code, out, err = run(tool, folder)
        assert code == 0 and out == want, f'{code}\n{out}\n{err}\nexpected:\n{want}'
        code, out, err = run(tool, folder, '--json')
        steps = [json.loads(line) for line in out.splitlines()]
        assert code == 0 and steps[0]['step'] == 'input', err
        fired = [s for s in steps if s['step'] == 'action']
        assert [s['detail']['action'] for s in fired] == ['command', 'notify'], out
        assert fired[1]['detail']['params'] == {'text': 't1 is at 29 °C'}, out
        held = [s['detail']['values'] for s in steps if s['step'] == 'condition']
        assert held[0] == {'temperature': 31.0}, out
        code, out, err = run(tool, folder, '--steps', '3')
        assert code == 0 and out.count('\n') == 4 and 'ends here' in out, out
        (folder / 'messages.yaml').write_text('- {device: t1}\n', encoding='utf-8')
        code, out, err = run(tool, folder)
        assert code == 1 and 'message 1: it needs' in err, err
        (folder / 'messages.yaml').write_text(
            '- {at: "2026-11-20T12:00:00.250Z", device: t1, values: {temperature: 31}}\n',
            encoding='utf-8')
        code, out, err = run(tool, folder)
        assert code == 0 and out.startswith('2026-11-20T12:00:00.250Z telemetry'), out + err
        code, out, err = run(tool, folder, '--steps', 'many')
        assert code == 2 and '--steps N' in err, err
        (folder / 'hot.yaml').write_text(rule.replace('temperature > 30', 'tempo > 30'),
                                         encoding='utf-8')
        (folder / 'messages.yaml').write_text('[]\n', encoding='utf-8')
        code, out, err = run(tool, folder)
        assert code == 1 and 'when.expr' in err and 'line 1, column 1' in err, err
    print('rule_test_md: the page is right')


if __name__ == '__main__':
    main()
