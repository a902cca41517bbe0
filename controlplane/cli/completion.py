"""`weir completion SHELL`: what a shell reads to complete `weir`.

All shells ask the same: `weir __complete WORDS...`, the last of which is to be completed (and may
be empty). The answer is a line for each word that may stand there, with what it means after a tab,
and then `:4` (nothing else may) or `:0` (names of files may), as programs made with Cobra have it:
kubectl asks its plugins so, by a program `kubectl_complete-weir`.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

NOTHING_ELSE, FILES_TOO = ":4", ":0"


class Shell(StrEnum):
    """Shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


_BASH = r"""# weir completion bash: `source <(weir completion bash)`, for good in ~/.bashrc.
_weir() {
    local line=${COMP_LINE:0:COMP_POINT} words word out directive offers=() at
    # COMP_WORDS is cut at colons, which names of services have.
    read -r -a words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[${#words[@]} - 1]}
    out=$("${words[0]}" __complete "${words[@]:1}" 2>/dev/null) || return
    directive=${out##*$'\n'}
    while IFS=$'\t' read -r at _; do
        [[ $at == :[0-9]* || -z $at ]] || offers+=("$at")
    done <<<"$out"
    COMPREPLY=("${offers[@]}")
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        local cut=${word%"${word##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$cut"}")
    fi
    [[ $directive == :4 ]] || compopt -o default
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
    return 0
}
complete -F _weir weir
"""
_ZSH = r"""#compdef weir
# weir completion zsh: into a file _weir of a folder in $fpath, or `source <(weir completion zsh)`.
_weir() {
    local -a lines offers
    local line value
    lines=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    for line in "${lines[@]}"; do
        [[ -z $line || $line == :[0-9]* ]] && continue
        value=${line%%$'\t'*}
        if [[ $line == *$'\t'* ]]; then
            offers+=("${value//:/\\:}:${line#*$'\t'}")
        else
            offers+=("${value//:/\\:}")
        fi
    done
    (( ${#offers} )) && _describe weir offers && return
    [[ ${lines[-1]} == :4 ]] || _files
}
if [[ ${funcstack[1]} == _weir ]]; then _weir "$@"; else compdef _weir weir; fi
"""
_FISH = r"""# weir completion fish: into ~/.config/fish/completions/weir.fish
function __weir_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l word (commandline --current-token --cut-at-cursor)
    for line in ($words[1] __complete $words[2..-1] "$word" 2>/dev/null)
        switch $line
            case ':4'
                return
            case ':0'
                __fish_complete_path "$word"
            case '*'
                echo $line
        end
    end
end
complete --command weir --no-files --arguments '(__weir_complete)'
"""
_POWERSHELL = r"""# `weir completion powershell | Out-String | Invoke-Expression`, in $PROFILE.
Register-ArgumentCompleter -Native -CommandName weir -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 | ForEach-Object { "$_" })
    if ($words.Count -and $words[-1] -eq $wordToComplete) {
        $words = @($words | Select-Object -SkipLast 1)
    }
    $last = $wordToComplete
    # PowerShell 5 drops an empty argument; a pair of quotes within quotes stands for it.
    if (-not $last -and $PSVersionTable.PSVersion.Major -lt 7) { $last = '""' }
    & $commandAst.CommandElements[0].Value __complete @words $last 2>$null | ForEach-Object {
        if ($_ -match '^:\d$') { return }
        $value, $help = $_ -split "`t", 2
        if (-not $help) { $help = $value }
        [System.Management.Automation.CompletionResult]::new(
            $value, $value, 'ParameterValue', $help)
    }
}
"""
SCRIPTS = {
    Shell.BASH: _BASH,
    Shell.ZSH: _ZSH,
    Shell.FISH: _FISH,
    Shell.POWERSHELL: _POWERSHELL,
}


def completion(
    shell: Annotated[Shell, typer.Argument(help="bash, zsh, fish or powershell.")],
) -> None:
    """Print what a shell reads to complete verbs, options, and the names of services, Envoys and
    Gateways that the running control plane has. The first line says where it goes."""
    typer.echo(SCRIPTS[shell], nl=False)


def kubectl_complete() -> None:
    """`kubectl_complete-weir`: asked by the completion of kubectl for `kubectl weir`."""
    answer(sys.argv[1:], plugin=True)


def answer(words: Sequence[str], plugin: bool) -> None:
    """Print what may stand in place of the last word."""
    sys.stdout.write("\n".join(offered(words or [""], plugin)) + "\n")


def offered(words: Sequence[str], plugin: bool) -> list[str]:
    """The lines of an answer. Nothing goes wrong in words: what does offers nothing."""
    from controlplane.cli.root import build

    said = io.StringIO()
    asking = {
        "_WEIR_COMPLETE": "complete_fish",  # typer's own way, whose lines are the ones we want
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": " ".join(["weir", *map(_quoted, words)]),
        "COLUMNS": "10000",  # a word is one line, however much is said of it
    }
    before = dict(os.environ)
    os.environ.update(asking)
    try:
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.suppress(SystemExit),
        ):
            build(plugin)(prog_name="weir")
    except Exception:  # noqa: BLE001 - whatever it is, a shell is no place to tell it
        return [FILES_TOO]
    finally:
        os.environ.clear()
        os.environ.update(before)
    lines = [one for one in said.getvalue().splitlines() if one.strip()]
    return [*lines, NOTHING_ELSE if lines else FILES_TOO]


def _quoted(word: str) -> str:
    """An empty word at the end is told by the space before it."""
    return shlex.quote(word) if word else ""
