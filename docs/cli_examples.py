"""An example for every command, as the page of the command line shows it; the page's tests run them in its order."""

from __future__ import annotations

START = "millrace run examples.approval -v change=v2.1 -v deploy_url=https://deploy.example.org --no-wait"
NEW_ID = "| awk '/^id / {print $2}'"

EXAMPLES: dict[str, str] = {
    "millrace audit export": (
        "millrace audit export --since 2026-01-01 --action create_user > users.ndjson\n"
        "millrace audit export audit.ndjson"
    ),
    "millrace audit list": "millrace audit list --result DENIED --limit 20",
    "millrace audit verify": "millrace audit verify",
    "millrace backup": "millrace migrate\nmillrace backup tonight.backup",
    "millrace completion": "millrace completion bash > millrace-completion.bash",
    "millrace executions cancel": (
        f"EXECUTION=$({START} | awk '/^execution_id/ {{print $2}}')\n" 'millrace executions cancel "$EXECUTION"'
    ),
    "millrace executions cancel-all": "millrace executions cancel-all --workflow examples.approval --plan",
    "millrace executions events": 'millrace executions events "$EXECUTION"',
    "millrace executions explain": 'millrace executions explain "$EXECUTION"',
    "millrace executions fail": (
        f"LOST=$({START} | awk '/^execution_id/ {{print $2}}')\n" 'millrace executions fail "$LOST" --reason "it hangs"'
    ),
    "millrace executions find": "millrace executions find --stuck --idle-seconds 600",
    "millrace executions follow": 'millrace executions follow "$EXECUTION" || echo "it ended with $?"',
    "millrace executions list": "millrace executions list examples.approval --status cancelled",
    "millrace executions pause": (
        f"WAITING=$({START} | awk '/^execution_id/ {{print $2}}')\n" 'millrace executions pause "$WAITING"'
    ),
    "millrace executions pause-all": 'millrace executions pause-all --reason "moving the database"',
    "millrace executions rerun": 'millrace executions rerun "$EXECUTION" --plan',
    "millrace executions resume": 'millrace executions resume "$WAITING"',
    "millrace executions resume-all": "millrace executions resume-all",
    "millrace executions show": 'millrace executions show "$EXECUTION"',
    "millrace import": (
        "python3 -c \"import sqlite3; old = sqlite3.connect('old.db'); "
        "old.execute('CREATE TABLE workflow_runs (wpk_id, run_id, status)'); "
        "old.execute('INSERT INTO workflow_runs VALUES (1, 2, 3)'); old.commit()\"\n"
        "millrace import old.db"
    ),
    "millrace key create": "millrace key create --name nightly --scope runs:write --scope read --days 90",
    "millrace key list": "millrace key list --user admin",
    "millrace key revoke": f'ENDS=$(millrace key create --name trial {NEW_ID})\nmillrace key revoke "$ENDS"',
    "millrace key rotate": f'OLD_ONE=$(millrace key create --name ci {NEW_ID})\nmillrace key rotate "$OLD_ONE" --overlap 600',
    "millrace migrate": "millrace migrate",
    "millrace pack check": "millrace pack check examples",
    "millrace pack list": "millrace pack list",
    "millrace pack remove": "millrace pack remove slack",
    "millrace pack show": "millrace pack show examples",
    "millrace pack sync": "millrace pack sync examples\nmillrace pack sync",
    "millrace restore": "millrace backup before.backup\nDATA_DIR=./copy millrace restore before.backup",
    "millrace run": (
        "mkdir -p mine/hello/workflows\n"
        "printf 'ref: hello\\nlabel: Hello\\nversion: 1.0.0\\n' > mine/hello/pack.yaml\n"
        "printf 'tasks:\\n  - {name: say, action: core.log, input: {message: \"{{ parameters.who }}\"}}\\n'"
        " > mine/hello/workflows/world.yaml\n"
        "# no server: the command takes the database itself\n"
        "MILLRACE_URL= MILLRACE_KEY= PACKS_DIR=mine DATA_DIR=./alone millrace run hello.world -v who=Ada"
    ),
    "millrace serve": "millrace serve",
    "millrace user create": "millrace user create ann --email ann@example.org",
    "millrace user list": "millrace user list",
    "millrace user role": "millrace user role ann 4 editor\nmillrace user role ann 4 editor --remove",
    "millrace user set": "millrace user set ann --no-active",
    "millrace validate": "millrace validate --strict mine/hello/workflows/world.yaml",
    "millrace worker": "POSTGRES_DSN=postgresql://millrace@db/millrace millrace worker",
    "millrace workers": "millrace workers",
}
SHOWN_ONLY = ("millrace serve", "millrace worker")
"""What does not come back by itself."""
