"""``relay completion``: the script by which a shell completes our verbs, options and names.

typer's own would load rich at each press of the key, let the shell evaluate what it got, and show
errors amid the line that is being typed.
"""

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from relay.cli import options

app = typer.Typer()

# Each asks `relay complete` with the words up to the cursor, the last one unfinished. The answer is
# a candidate a line, with its help behind a tab; ":files" where file names are wanted.
_BASH = r"""# relay(8) for bash: relay completion bash > /etc/bash_completion.d/relay
_relay() {
    local relay=${COMP_WORDS[0]/#\~/$HOME} line value
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o default
        else
            value=${line%%$'\t'*}
            COMPREPLY+=("$value")
            [[ $value == *= ]] && compopt -o nospace
        fi
    done < <("$relay" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _relay relay
"""

_ZSH = r"""#compdef relay
# relay(8) for zsh: relay completion zsh > /usr/local/share/zsh/site-functions/_relay
_relay() {
    local line
    local -a described
    for line in "${(@f)$("${words[1]/#\~/$HOME}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"
    do
        if [[ $line == :files ]]; then
            _files
        elif [[ -n $line ]]; then
            described+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        fi
    done
    (( $#described )) && _describe -t values relay described
}
if [[ $funcstack[1] == _relay ]]; then
    _relay "$@"
else
    compdef _relay relay
fi
"""

_FISH = r"""# relay(8) for fish: relay completion fish > /etc/fish/completions/relay.fish
function __relay_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l relay (string replace -r '^~' $HOME $words[1])
    set -e words[1]
    for line in ($relay complete -- $words "$current" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path "$current"
        else
            echo $line
        end
    end
end
complete -c relay -f -a '(__relay_complete)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@app.command(
    epilog=options.examples(
        "relay completion bash > /etc/bash_completion.d/relay",
        "relay completion zsh > /usr/local/share/zsh/site-functions/_relay",
        "relay completion fish > /etc/fish/completions/relay.fish",
        "source <(relay completion bash)",
    )
)
def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the script by which a shell completes verbs and names.

    Also the names of tenants and upstreams, as the configuration has them when the key is pressed.
    """
    if shell not in _SCRIPTS:
        known = ", ".join(_SCRIPTS)
        raise typer.BadParameter(f'no script for "{shell}" (there is: {known})', param_hint="SHELL")
    print(_SCRIPTS[shell], end="")


@app.command(hidden=True, epilog=options.examples("relay complete -- tenant show a"))
def complete(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORD", help="The last one unfinished.")],
) -> None:
    """For shells: what the last of the words may become."""
    from relay.cli.shell.candidates import candidates

    root = context.find_root().command
    # Whatever is wrong, the person is in the middle of a line.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    with suppress(Exception):
        for candidate in candidates(root, words):
            print(candidate)
