# Completion for bash of offsetof; made by "bun run docs" from the commands' definitions.

_offsetof() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command="" words="" files="" list="" head=""
  # Bash takes --flag=value apart at the =.
  if [[ $current == = ]]; then current=""; elif [[ $previous == = ]]; then previous=${COMP_WORDS[COMP_CWORD-2]}; fi
  if ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} != -* ]]; then
    command=${COMP_WORDS[1]}
    case $command in
    bytecode | verify)
      if ((COMP_CWORD > 2)) && [[ ${COMP_WORDS[2]} != -* ]]; then command+=" ${COMP_WORDS[2]}"; fi ;;
    esac
  fi
  case $previous in
    --format) words="json table env header" ;;
    --config) files=1 ;;
    --strategy) words="snapshot stepwise" ;;
    --bytecode) words="auto current old" ;;
    --source) words="guess btf probe code table" list=1 ;;
    --trust) files=1 ;;
    --threshold) : ;;
    --retries) : ;;
    --stability-window) : ;;
    --stability-attempts) : ;;
    --collect-tcpv4) words="true false" ;;
    --collect-tcpv6) words="true false" ;;
    --collect-udpv4) words="true false" ;;
    --collect-udpv6) words="true false" ;;
    --proc-root) files=1 ;;
    --deadline) : ;;
    --only) : ;;
    --get) : ;;
    --pid) : ;;
    --version-text) : ;;
    -o) files=1 ;;
    --output) files=1 ;;
    --netns) files=1 ;;
    --translated) : ;;
    --cloud) words="aws" ;;
    --imds) : ;;
    --for) words="kernel" files=1 ;;
    --constants) files=1 ;;
    --against) : ;;
    --seconds) : ;;
  *)
    case $command in
    "") words="run detect kernel tls btf gateway bytecode verify config --format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline --export --only --get" ;;
    "run") words="--format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline --export --only --get" ;;
    "detect") words="--format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline" ;;
    "kernel") words="--format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline --export --only --get" ;;
    "tls") words="--pid --all --version-text --format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline --export --only --get" ;;
    "btf") words="-o --output --format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline" ;;
    "gateway") words="--netns --translated --cloud --imds --batch --format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline" ;;
    "bytecode") words="list extract edit --help" ;;
    "bytecode list") words="--format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline" ;;
    "bytecode extract") words="--for -o --output --constants --allow-missing --format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline" ;;
    "bytecode edit") words="--for -o --output --constants --allow-missing --format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline" ;;
    "verify") words="kernel tls --help" ;;
    "verify kernel") words="--constants --format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline" ;;
    "verify tls") words="--pid --against --seconds --constants --format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline" ;;
    "config") words="--format --quiet --verbose -h --help --version --config --strategy --bytecode --source --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline" ;;
    esac
    case $command in "tls" | "bytecode edit" | "verify tls") files=1 ;; esac ;;
  esac
  if [[ -n $list && $current == *,* ]]; then
    head=${current%,*},
    current=${current##*,}
  fi
  mapfile -t COMPREPLY < <(compgen -P "$head" -W "$words" -- "$current")
  if [[ -n $files ]]; then
    local file
    while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$current")
  fi
}
complete -o filenames -F _offsetof offsetof
