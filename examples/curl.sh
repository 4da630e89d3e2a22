#!/bin/sh
# Every endpoint with curl.
#
#     TOKENHUB_BASE_URL=http://127.0.0.1:8080/v1 TOKENHUB_API_KEY=th-… sh curl.sh
set -eu

base=${TOKENHUB_BASE_URL:-http://127.0.0.1:8080/v1}
model=${TOKENHUB_MODEL:-smollm2-135m}
embedding_model=${TOKENHUB_EMBEDDING_MODEL:-smollm2-135m-embed}

# The key goes through standard input: in an argument, every user of this machine could read it.
ask() {
    printf 'header = "Authorization: Bearer %s"\n' "$TOKENHUB_API_KEY" \
      | curl --config - --silent --show-error --fail-with-body --header 'Content-Type: application/json' "$@"
    echo
}

echo '# a chat'
ask "$base/chat/completions" \
    --data "{\"model\": \"$model\", \"messages\": [{\"role\": \"user\", \"content\": \"Say hello.\"}], \"max_tokens\": 50}"

echo '# the same, as it comes'
ask "$base/chat/completions" --no-buffer \
    --data "{\"model\": \"$model\", \"messages\": [{\"role\": \"user\", \"content\": \"Say hello.\"}], \"max_tokens\": 50, \"stream\": true}"

echo '# embeddings'
ask "$base/embeddings" --data "{\"model\": \"$embedding_model\", \"input\": [\"a cat\", \"a dog\"]}"

echo '# what this key may call, the key, the credit'
ask "$base/models"
ask "$base/models/$model"
ask "$base/key"
ask "$base/credits"
