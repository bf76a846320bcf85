"""The words of random names: short, friendly, easy to spell out, and harmless in every pair."""

_ADJECTIVES = """
    able agile airy alert amber apt autumn azure bold brave breezy bright brisk calm candid cheery clear clever cobalt copper
    coral cosmic cosy crisp curious dapper daring deft early eager easy fair fancy fleet fluent fond fresh gentle glad golden
    grand green happy hardy hazel honest humble ivory jade jolly keen kind lively lucid lucky lunar mellow merry mild misty
    modest neat nimble noble opal patient plucky polar polite proud quick quiet rapid ready royal ruby rustic sandy serene
    sharp silver smart snug solar spry stable steady sunny sure swift tidy tranquil true vivid warm wise witty
"""

_ANIMALS = """
    alpaca badger bison bobcat bunting camel cheetah condor coyote crane cricket curlew dingo dolphin dove dragonfly dunlin
    eagle egret elk ermine falcon ferret finch firefly flamingo fox gannet gazelle gecko gibbon giraffe goose grebe grouse
    gull hamster hare hawk hedgehog heron ibex ibis impala jackdaw jaguar jay kestrel kingfisher kiwi koala lark lemur
    leopard linnet lizard llama lobster lynx magpie manatee marlin marmot marten meerkat merlin mink moose moth narwhal newt
    ocelot octopus oriole osprey otter owl panda parrot pelican penguin petrel pheasant plover puffin puma quail rabbit
    raven robin salmon seal sparrow squirrel starling stork swallow swan tapir tern thrush tortoise toucan trout turtle
    walrus weasel wombat wren yak zebra
"""

ADJECTIVES = tuple(_ADJECTIVES.split())
ANIMALS = tuple(_ANIMALS.split())
